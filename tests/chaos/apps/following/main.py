"""An object that runs what it is given, and keeps what it hears of it meanwhile."""

import asyncio

import homing
from homing import DurableObject, grants


class Giver(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t(n INTEGER)")
        self.heard = []

    async def run(self, code, **options):
        """What was heard by the time that the run returned, and what it returned."""
        self.heard = []
        ran = await homing.run(
            code, grants={"table": grants.sql(self)}, on_output=self.output, on_use=self.use, **options
        )  # fmt: skip
        error = ran.error and ran.error.error_type
        return {"heard": self.heard, "result": ran.result, "stdout": ran.stdout, "error": error}

    def output(self, stream, text):
        self.heard.append([stream, text])

    async def use(self, use):
        self.heard.append(["use", use._asdict()])

    async def run_deaf(self, count):
        """Hears nothing between the first use and the last; how many it heard, and how many it missed."""
        given = {"me": grants.stub(self, ["nothing", "last"], limits={"calls_max": 10_000, "calls_per_s_max": 1e5})}
        told, self.is_last = [], asyncio.Event()

        async def hear(use):
            told.append(use.missed)
            await self.is_last.wait()

        code = "import asyncio\nfor _ in range(count // 8):\n"
        code += "    await asyncio.gather(*(env.me.nothing() for _ in range(8)))\nawait env.me.last()"
        limits = {"wall_s": 60, "cpu_s": 30}
        (await homing.run(code, args={"count": count}, grants=given, on_use=hear, limits=limits)).check()
        return [len(told), sum(told)]

    def nothing(self):
        pass

    def last(self):
        self.is_last.set()

    def heard_so_far(self):
        return self.heard

    async def run_and_fail(self, code):
        """The follower raises at the first use; then what has become of the grant."""
        grant = grants.sql(self)

        def hear(use):
            raise ValueError("the follower broke")

        try:
            await homing.run(code, grants={"table": grant}, on_use=hear)
        except ValueError as error:
            return [str(error), grant.revoked]

    async def run_two(self):
        """Two runs at once, each with a follower of its own."""
        heard = {"a": [], "b": []}
        given = {"table": grants.sql(self)}
        code = "for n in range(5):\n    await env.table.exec('SELECT 1')\nprint(name)"

        def run(name, own):
            own_text, own_use = lambda _, text: own.append(text), lambda use: own.append(use.outcome)
            return homing.run(code, args={"name": name}, grants=given, on_output=own_text, on_use=own_use)

        await asyncio.gather(*(run(name, own) for name, own in heard.items()))
        return heard
