"""`import wsgi`: another name for `workers.wsgi`."""

from __future__ import annotations

from workers.wsgi import entrypoint, fetch

__all__ = ["entrypoint", "fetch"]
