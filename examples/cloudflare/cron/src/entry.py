from workers import DurableObject, Response, WorkerEntrypoint


class Reports(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("CREATE TABLE IF NOT EXISTS visits(path TEXT)")
        self.sql.exec("CREATE TABLE IF NOT EXISTS reports(at INTEGER, cron TEXT, visits INTEGER)")

    def visit(self, path):
        self.sql.exec("INSERT INTO visits VALUES (?)", path)

    def report(self, at, cron):
        visits = self.sql.exec("SELECT count(*) AS n FROM visits").one().n
        self.sql.exec("INSERT INTO reports VALUES (?, ?, ?)", at, cron, visits)
        self.sql.exec("DELETE FROM visits")

    def all(self):
        return [dict(row) for row in self.sql.exec("SELECT * FROM reports ORDER BY at").toArray()]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        reports = self.env.REPORTS.getByName("all")
        path = request.url.partition("://")[2].partition("/")[2]
        if path == "reports":
            return Response.json(await reports.all())
        await reports.visit(f"/{path}")
        return Response("seen")

    async def scheduled(self, controller, env, ctx):
        ctx.waitUntil(env.REPORTS.getByName("all").report(controller.scheduledTime, controller.cron))
