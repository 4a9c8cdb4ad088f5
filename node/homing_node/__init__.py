"""The node: it owns slots, keeps their logs and supervises the jailed workers that run object code."""
