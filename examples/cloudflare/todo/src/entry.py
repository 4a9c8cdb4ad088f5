"""A list of what is to be done, in a D1 database."""

from urllib.parse import urlsplit

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlsplit(request.url).path.strip("/")
        if request.method == "POST" and not path:
            return await self.add((await request.json()).text)
        if request.method == "POST":
            return await self.finish(int(path))
        if path == "count":
            left = await self.env.DB.prepare("SELECT count(*) AS n FROM items WHERE done = ?").bind(False).first("n")
            return Response.json({"left": left})
        found = await self.env.DB.prepare("SELECT id, text, done FROM items ORDER BY done, id").all()
        return Response.json([{"id": row.id, "text": row.text, "done": bool(row.done)} for row in found.results])

    async def add(self, text):
        if not text:
            return Response("say what is to be done", status=400)
        found = await self.env.DB.prepare("INSERT INTO items (text) VALUES (?1)").bind(text).run()
        return Response.json({"id": found.meta.last_row_id, "text": text}, status=201)

    async def finish(self, item):
        db = self.env.DB
        finished, _ = await db.batch(
            [
                db.prepare("UPDATE items SET done = 1 WHERE id = ? AND done = 0").bind(item),
                db.prepare("INSERT INTO log VALUES (?, 'done')").bind(item),
            ]
        )
        return Response.json({"changed": finished.meta.changes})
