"""An application that misbehaves in every way its jail must survive; `Counter` is its well-behaved neighbour."""

import asyncio
import os
import sys
import threading
import time

from homing import DurableObject


class Counter(DurableObject):
    def increment(self):
        kv = self.ctx.storage.kv
        value = (kv.get("value") or 0) + 1
        kv.put("value", value)
        return value

    def read(self):
        return self.ctx.storage.kv.get("value") or 0

    async def slow_increment(self, seconds):
        await asyncio.sleep(seconds)
        return self.increment()


class Hostile(DurableObject):
    def hello(self):
        return "hello"

    def spin(self):
        while True:
            pass

    def sleep_blocking(self, seconds):
        time.sleep(seconds)
        return "slept"

    def memory_bomb(self):
        held = []
        while True:
            held.append(bytearray(16 * 1024 * 1024))

    def huge_print(self):
        for _ in range(200):
            print("x" * 1_000_000)  # noqa: T201  the output of object code is what this is about
        sys.stdout.flush()
        return "printed"

    def exit_now(self):
        os._exit(3)

    def exit_politely(self):
        sys.exit(4)

    def many_threads(self):
        threads = []
        try:
            for _ in range(10_000):
                thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
                thread.start()
                threads.append(thread)
        except RuntimeError as error:
            return f"{len(threads)} threads, then {error}"
        return f"{len(threads)} threads"

    def endless_recursion(self):
        return self.endless_recursion()

    def close_every_descriptor(self):
        os.closerange(0, 64)
        return "closed"
