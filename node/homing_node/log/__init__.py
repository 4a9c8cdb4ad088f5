"""The replicated log: a pure core, the store under it and the streams between peers. See docs/log.md."""
