"""The application of the benchmarks: a durable counter, and an object that keeps bytes."""

from homing import DurableObject, Request, Response, WebSocket, WebSocketPair


class Counter(DurableObject):
    def increment(self) -> int:
        kv = self.ctx.storage.kv
        value = (kv.get("value") or 0) + 1
        kv.put("value", value)
        return value

    def read(self) -> int:
        return self.ctx.storage.kv.get("value") or 0


class Blob(DurableObject):
    def put(self, data: bytes) -> int:
        self.ctx.storage.kv.put("data", data)
        return len(data)

    def get(self) -> bytes:
        return self.ctx.storage.kv.get("data") or b""


class Listener(DurableObject):
    """Holds sockets, and sleeps."""

    def fetch(self, request: Request) -> Response:
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server)
        return Response(None, status=101, web_socket=pair.client)

    def websocket_message(self, ws: WebSocket, message: str) -> None:
        ws.send(message)
