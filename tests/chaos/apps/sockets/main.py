"""Rooms and echoes, for the tests of sockets on a real cluster."""

from urllib.parse import parse_qs, urlsplit

from homing import DurableObject, Response, WebSocketPair, WebSocketRequestResponsePair, WorkerEntrypoint


class Room(DurableObject):
    """Stores what is said in it, and tells everybody."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.woken = True
        ctx.set_websocket_auto_response(WebSocketRequestResponsePair("ping", "pong"))

    def fetch(self, request):
        """Come in, under a name."""
        if request.headers.get("upgrade") != "websocket":
            return Response("this is for WebSockets", status=426)
        name = parse_qs(urlsplit(request.url).query)["name"][0]
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server, tags=["room", f"is {name}"])
        pair.server.serialize_attachment({"name": name, "said": 0})
        return Response(None, status=101, web_socket=pair.client)

    def websocket_message(self, ws, message):
        """Store it with its number, and pass it on."""
        if message == "boom":
            raise ValueError(message)
        who = ws.deserialize_attachment()
        who["said"] += 1
        ws.serialize_attachment(who)
        sql = self.ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS said(name TEXT, number INTEGER, message BLOB)")
        kept = message if len(message) <= 1 << 20 else f"{len(message)} bytes"  # a row has at most 2 MiB
        sql.exec("INSERT INTO said VALUES (?, ?, ?)", who["name"], who["said"], kept)
        line = f"{who['name']} {who['said']} {message}" if isinstance(message, str) else message[::-1]
        for other in self.ctx.get_websockets("room"):
            other.send(line)

    def websocket_close(self, ws, code, reason, was_clean):
        """Tell the others."""
        who = ws.deserialize_attachment()
        for other in self.ctx.get_websockets():
            other.send(f"{who['name']} left with {code} {reason!r} {was_clean}")

    def said(self):
        """All that was said, in order."""
        return [list(row) for row in self.ctx.storage.sql.exec("SELECT name, number, message FROM said").raw()]

    def sockets(self):
        """The tags of the sockets there are."""
        return [self.ctx.get_tags(ws) for ws in self.ctx.get_websockets()]

    def fresh(self):
        """Whether this instance was made since it was asked last."""
        woken, self.woken = self.woken, False
        return woken

    def show_out(self, name, code, reason):
        """Close somebody's sockets."""
        for ws in self.ctx.get_websockets(f"is {name}"):
            ws.close(code, reason)


class Default(WorkerEntrypoint):
    """Passes requests on to rooms."""

    async def fetch(self, request):
        """The room of the path."""
        return await self.env.ROOM.get_by_name(urlsplit(request.url).path.strip("/")).fetch(request)
