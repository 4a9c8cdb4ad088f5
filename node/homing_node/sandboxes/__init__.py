"""Single-use processes for code that came a moment ago, forked from a jailed zygote. See docs/sandboxes.md."""
