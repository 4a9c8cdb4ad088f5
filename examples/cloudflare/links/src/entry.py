"""Short links, kept in a KV namespace."""

from urllib.parse import parse_qs, urlsplit

from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        name = url.path.lstrip("/")
        if request.method == "GET" and not name:
            return await self.index(parse_qs(url.query))
        if request.method == "PUT":
            return await self.put(name, await request.text())
        if request.method == "DELETE":
            await self.env.LINKS.delete(name)
            return Response(None, status=204)
        target = await self.env.LINKS.get(name)
        if target is None:
            return Response("no such link", status=404)
        return Response.redirect(target, 302)

    async def put(self, name, target):
        if not target.startswith("https://"):
            return Response("a link leads to https", status=400)
        options = to_js({"expirationTtl": 3600, "metadata": {"host": urlsplit(target).hostname}})
        await self.env.LINKS.put(name, target, options)
        return Response.json({"name": name, "target": target}, status=201)

    async def index(self, query):
        cursor = query.get("cursor", [None])[0]
        page = await self.env.LINKS.list(prefix=query.get("prefix", [""])[0], limit=2, cursor=cursor)
        links = [{"name": key.name, "host": key.metadata.host} for key in page.keys]
        return Response.json({"links": links, "cursor": None if page.list_complete else page.cursor})
