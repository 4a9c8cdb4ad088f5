"""A chat room as it is written for Cloudflare's Python Workers: sockets that stay while the room sleeps."""

import json
from urllib.parse import parse_qs, urlparse

from js import WebSocketPair, WebSocketRequestResponsePair
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.names = {ws: ws.deserializeAttachment() for ws in ctx.getWebSockets()}
        ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new("ping", "pong"))
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS lines(id INTEGER PRIMARY KEY, name TEXT, line TEXT)")

    async def fetch(self, request):
        if request.headers.get("Upgrade") != "websocket":
            lines = self.ctx.storage.sql.exec("SELECT name, line FROM lines ORDER BY id").toArray()
            return Response.json([[row.name, row.line] for row in lines])
        client, server = WebSocketPair.new().object_values()
        name = parse_qs(urlparse(request.url).query).get("name", ["somebody"])[0]
        self.ctx.acceptWebSocket(server, [name])
        server.serializeAttachment(name)
        self.names[server] = name
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        name = self.names[ws]
        self.ctx.storage.sql.exec("INSERT INTO lines(name, line) VALUES (?, ?)", name, message)
        self.tell({"name": name, "line": message, "here": len(self.ctx.getWebSockets())})

    async def webSocketClose(self, ws, code, reason, was_clean):
        ws.close(code, reason)
        self.tell({"left": self.names.pop(ws), "code": code})

    def tell(self, what):
        for ws in self.ctx.getWebSockets():
            ws.send(json.dumps(what))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        room = urlparse(request.url).path.split("/")[-1]
        return await self.env.ROOMS.getByName(room).fetch(request)
