"""A queue of reminders in one object: it sets its one alarm to the earliest, as Cloudflare's documentation does."""

from js import URL, Date
from workers import DurableObject, Response, WorkerEntrypoint


class Reminders(DurableObject):
    """Texts that are due at a time, and those that were."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("CREATE TABLE IF NOT EXISTS waiting(id INTEGER PRIMARY KEY, text TEXT, due INTEGER)")
        self.sql.exec("CREATE TABLE IF NOT EXISTS done(text TEXT, late INTEGER)")

    async def fetch(self, request):
        if request.method == "POST":
            asked = await request.json()
            due = Date.now() + asked.after_ms
            self.sql.exec("INSERT INTO waiting(text, due) VALUES (?, ?)", asked.text, due)
            await self.set_next()
            return Response.json({"text": asked.text, "due": due}, status=201)
        done = self.sql.exec("SELECT text, late FROM done ORDER BY rowid").toArray()
        return Response.json({"done": [row.to_py() for row in done], "next": await self.ctx.storage.getAlarm()})

    async def set_next(self):
        row = self.sql.exec("SELECT min(due) AS due FROM waiting").one()
        if row.due is not None:
            await self.ctx.storage.setAlarm(row.due)

    async def alarm(self, alarm_info):
        now = Date.now()
        for row in self.sql.exec("SELECT id, text, due FROM waiting WHERE due <= ? ORDER BY due", now).toArray():
            self.sql.exec("INSERT INTO done VALUES (?, ?)", row.text, now - row.due)
            self.sql.exec("DELETE FROM waiting WHERE id = ?", row.id)
        await self.set_next()


class Default(WorkerEntrypoint):
    """Passes requests on to the list that the path names."""

    async def fetch(self, request):
        name = URL.new(request.url).pathname.strip("/")
        if not name:
            return Response("Name a list in the path", status=400)
        return await self.env.LISTS.get(self.env.LISTS.idFromName(name)).fetch(request)
