"""A mixed load for locust: reads and writes of counters and guest books, over many objects.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8787

The application is `examples/hello`. In the environment, `OBJECTS` (1,000) says over how many objects the calls are
spread, and `CALLS_PER_SECOND_EACH` (5) how fast one user calls.
"""

import os
import random
import time
from typing import Protocol, cast

from locust import FastHttpUser, constant_throughput, task  # pyright: ignore[reportUnknownVariableType] - untyped

OBJECTS = int(os.environ.get("OBJECTS", "1000"))
CALLS_PER_SECOND_EACH = float(os.environ.get("CALLS_PER_SECOND_EACH", "5"))
TOKEN = os.environ.get("HOMING_API_TOKEN")
HEADERS = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}


class Poster(Protocol):
    """The part of locust's client that is used here; its own types are incomplete."""

    def post(self, url: str, *, json: object, headers: dict[str, str], name: str) -> object: ...


class Visitor(FastHttpUser):
    """One caller. It calls at a steady pace, so that slow answers do not lessen the load."""

    wait_time = constant_throughput(CALLS_PER_SECOND_EACH)

    def on_start(self) -> None:
        # Users start together; without a phase of their own they would call in waves.
        time.sleep(random.random() / CALLS_PER_SECOND_EACH)

    @task(5)
    def read(self) -> None:
        self.call("Counter", "read")

    @task(3)
    def increment(self) -> None:
        self.call("Counter", "increment")

    @task(1)
    def sign(self) -> None:
        self.call("GuestBook", "sign", "a visitor", "I was here")

    @task(1)
    def entries(self) -> None:
        self.call("GuestBook", "entries", 5)

    def call(self, class_name: str, method: str, *arguments: object) -> None:
        """One call of a method on one of the objects; locust counts it under the method's name."""
        path = f"/_homing/v1/objects/{class_name}/load-{random.randrange(OBJECTS)}/rpc/{method}"
        client = cast(Poster, self.client)
        client.post(path, json={"args": arguments}, headers=HEADERS, name=f"{class_name}.{method}")
