"""A table, and strangers who may ask it: their code runs in a sandbox under two grants, and the page shows each use."""

import json
import secrets
from pathlib import Path

import homing
from homing import DurableObject, Response, WebSocketPair, WorkerEntrypoint, grants

SALES = """
    INSERT INTO sales(day, region, product, amount)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 364)
    SELECT date('2026-01-01', i || ' days'), iif(i % 2, 'north', 'south'), iif(i % 3, 'tea', 'coffee'), 20 + i * 7 % 90
    FROM n"""
LIMITS = {"wall_s": 60, "cpu_s": 5, "output_bytes": 64 * 1024}
CODE_CHARACTERS_MAX = 20_000


class Analyst(DurableObject):
    """Keeps a table of sales, and runs what it is given."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.given = {}  # the grants of the run that goes on
        sql = ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS sales(day TEXT, region TEXT, product TEXT, amount INTEGER) STRICT")
        if not sql.exec("SELECT count(*) AS rows FROM sales").one()["rows"]:
            sql.exec(SALES)

    def fetch(self, request):
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server)
        if self.given:
            pair.server.send(json.dumps({"began": sorted(self.given)}))
        return Response(None, status=101, web_socket=pair.client)

    def websocket_message(self, ws, message):
        asked = json.loads(message)
        if asked["do"] == "revoke":
            for grant in self.given.values():
                grant.revoke()
        elif self.given:
            ws.send(json.dumps({"busy": "a run goes on"}))
        elif len(asked["code"]) > CODE_CHARACTERS_MAX:
            ws.send(json.dumps({"busy": f"code has at most {CODE_CHARACTERS_MAX:,} characters"}))
        else:
            # Both end with the run. The code cannot get at the object, its keys, or what the node adds to requests.
            self.given = {"table": grants.sql(self, read_only=True), "host": grants.named("host")}
            self.ctx.wait_until(self.run(asked["code"]))

    async def run(self, code):
        self.tell(began=sorted(self.given))
        try:
            ran = await homing.run(
                code,
                args={"url": self.env.URL},
                limits=LIMITS,
                grants=self.given,
                on_output=lambda stream, text: self.tell(output=text),
                on_use=lambda use: self.tell(use=use._asdict()),
            )
            error = ran.error and f"{ran.error.message}\n{ran.error.traceback}"
            self.tell(ended={"result": repr(ran.result), "error": error})
        except homing.HomingError as error:
            self.tell(ended={"result": None, "error": str(error)})
        finally:
            self.given = {}

    def tell(self, **what):
        message = json.dumps(what)
        for ws in self.ctx.get_websockets():
            ws.send(message)

    def total(self):
        """How many sales there are, and their sum."""
        return self.ctx.storage.sql.exec("SELECT count(*) AS sales, sum(amount) AS amount FROM sales").one()


class Default(WorkerEntrypoint):
    """The page, and the way to the object."""

    async def fetch(self, request):
        if request.headers.get("upgrade") == "websocket":
            return await self.env.ANALYST.get_by_name("main").fetch(request)
        nonce = secrets.token_urlsafe(16)  # whatever a stranger gets into the page, only its own script runs
        page = Path(__file__).with_name("page.html").read_text().replace("NONCE", nonce)
        own = f"'nonce-{nonce}'"
        policy = f"default-src 'none'; style-src {own}; script-src {own}; connect-src 'self'; img-src data:"
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}
        return Response(page, headers=headers)
