"""An order as a workflow: steps that need each other, a bank that is busy at first, a sleep, and an approval."""

from urllib.parse import urlsplit

from workers import DurableObject, Response, WorkerEntrypoint, WorkflowEntrypoint
from workers.workflows import NonRetryableError


class Ledger(DurableObject):
    """What was done for an order, as often as it was."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, what TEXT)")

    async def note(self, what):
        self.ctx.storage.sql.exec("INSERT INTO notes(what) VALUES (?)", what)

    async def notes(self):
        return [row.what for row in self.ctx.storage.sql.exec("SELECT what FROM notes ORDER BY id").toArray()]


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        items = event["payload"]["items"]
        ledger = self.env.LEDGERS.getByName(event["instanceId"])

        @step.do()
        async def reserve():
            if not items:
                raise NonRetryableError("an order has items")
            await ledger.note("reserve")
            return sorted(items)

        @step.do()
        async def price():
            await ledger.note("price")
            return sum(items.values())

        @step.do(
            "charge the card",
            concurrent=True,
            config={"retries": {"limit": 3, "delay": "2 seconds", "backoff": "constant"}, "timeout": "30 seconds"},
        )
        async def charge(reserve, price, ctx):
            await ledger.note(f"charge, attempt {ctx['attempt']}")
            if ctx["attempt"] == 1:
                raise RuntimeError("the bank is busy")
            return {"paid": price, "for": reserve}

        receipt = await charge()
        await step.sleep("leave time to think", "2 seconds")
        approval = await step.wait_for_event("wait for the warehouse", "approval", timeout="1 hour")

        @step.do("ship", config={"retries": {"limit": 0, "delay": 0}})
        async def ship():
            await ledger.note("ship")
            return f"parcel {event['instanceId']}"

        return {**receipt, "approved_by": approval["payload"]["name"], "parcel": await ship()}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        order, _, action = urlsplit(request.url).path.strip("/").partition("/")
        try:
            if not order:
                return await self.begin(await request.json())
            return await self.handle(await self.env.ORDERS.get(order), action, request)
        except Exception as error:
            missing = "instance.not_found" in str(error)
            return Response.json({"error": str(error)}, status=404 if missing else 409)

    async def begin(self, asked):
        """One order, or many."""
        if isinstance(asked, list):
            made = await self.env.ORDERS.createBatch([{"id": each["id"], "params": each} for each in asked])
        else:
            made = [await self.env.ORDERS.create({"id": asked["id"], "params": asked})]
        return Response.json({"orders": [instance.id for instance in made]}, status=201)

    async def handle(self, instance, action, request):
        if action == "approval":
            await instance.sendEvent({"type": "approval", "payload": await request.json()})
        elif action in ("pause", "resume", "terminate", "restart"):
            await getattr(instance, action)()
        notes = await self.env.LEDGERS.getByName(instance.id).notes()
        return Response.json({"id": instance.id, "details": await instance.status(), "notes": notes})
