"""`js.HTMLRewriter`: changes HTML while it passes, and leaves every byte as it is that nobody changes.

`tokens.py` cuts bytes into tags, text and comments, `selectors.py` says which elements are meant, `parts.py` is what
handlers are given, and `rewriter.py` puts them together. There is no tree: an element is seen when its start tag is.
"""
