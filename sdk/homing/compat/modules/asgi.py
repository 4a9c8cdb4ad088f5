"""`import asgi`: another name for `workers.asgi`."""

from __future__ import annotations

from workers.asgi import entrypoint, fetch, websocket

__all__ = ["entrypoint", "fetch", "websocket"]
