"""An object and an entrypoint that run what they are given."""

import homing
from homing import DurableObject, Response, WorkerEntrypoint


class Runner(DurableObject):
    async def run(self, code, args=None, **given):
        self.ctx.storage.kv.put("runs", (self.ctx.storage.kv.get("runs") or 0) + 1)
        ran = await homing.run(code, args=args, **given)
        error = ran.error
        told = None if error is None else [error.code, error.error_type, error.traceback]
        return {"result": ran.result, "stdout": ran.stdout, "stderr": ran.stderr, "error": told}

    async def refused(self, code, times=1, **given):
        if "stdin" in given:
            given["stdin"] *= times
        try:
            await homing.run(code * times, **given)
        except (homing.HomingError, TypeError) as error:
            return [type(error).__name__, str(error)]
        return None

    def runs(self):
        return self.ctx.storage.kv.get("runs")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        ran = await homing.run(await request.text(), stdin="in")
        return Response(str(ran.check()))
