"""An application that misbehaves in every way its jail must survive; `Counter` is its well-behaved neighbour."""

import asyncio
import os
import sys
import threading
import time

from homing import DurableObject


class Counter(DurableObject):
    def increment(self) -> int:
        kv = self.ctx.storage.kv
        value = (kv.get("value") or 0) + 1
        kv.put("value", value)
        return value

    def read(self) -> int:
        return self.ctx.storage.kv.get("value") or 0

    async def slow_increment(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return self.increment()


class Hostile(DurableObject):
    def hello(self) -> str:
        return "hello"

    def spin(self) -> None:
        while True:
            pass

    def sleep_blocking(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def memory_bomb(self) -> None:
        held: list[bytearray] = []
        while True:
            held.append(bytearray(16 * 1024 * 1024))

    def huge_print(self) -> str:
        for _ in range(200):
            print("x" * 1_000_000)  # noqa: T201  the output of object code is what this is about
        sys.stdout.flush()
        return "printed"

    def exit_now(self) -> None:
        os._exit(3)

    def exit_politely(self) -> None:
        sys.exit(4)

    def many_threads(self) -> str:
        threads: list[threading.Thread] = []
        try:
            for _ in range(10_000):
                thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
                thread.start()
                threads.append(thread)
        except RuntimeError as error:
            return f"{len(threads)} threads, then {error}"
        return f"{len(threads)} threads"

    def endless_recursion(self) -> int:
        return self.endless_recursion()

    def close_every_descriptor(self) -> str:
        os.closerange(0, 64)
        return "closed"
