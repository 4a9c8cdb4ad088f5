"""The application of the benchmarks: a durable counter, and an object that keeps bytes."""

from homing import DurableObject


class Counter(DurableObject):
    def increment(self) -> int:
        kv = self.ctx.storage.kv
        value = (kv.get("value") or 0) + 1
        kv.put("value", value)
        return value

    def read(self) -> int:
        return self.ctx.storage.kv.get("value") or 0


class Blob(DurableObject):
    def put(self, data: bytes) -> int:
        self.ctx.storage.kv.put("data", data)
        return len(data)

    def get(self) -> bytes:
        return self.ctx.storage.kv.get("data") or b""
