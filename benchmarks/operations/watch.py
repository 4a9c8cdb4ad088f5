"""Clients for a cluster of your own: they call while you restart, add or drain nodes, and say what they saw.

    watch.py --url http://127.0.0.1:8787 [--seconds 60] [--class Counter] [--method increment] [--clients 64]

The application must have such a method without arguments; it is called on 1,000 new objects. `Counter.increment` must
answer 1, 2, 3 and so on for each, as that of examples/hello does, and is checked for lost and doubled calls; any other
method is not. The token is taken from HOMING_API_TOKEN. Kept when no call failed, every second had at least 500
answers, and p99 is at most 250 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import OBJECTS
from benchmarks.operations.promises import CLIENTS, kept, seen_note, served, serving, verdict
from tests.chaos.callers import CLASS, METHOD, Callers
from tests.chaos.client import Connection

WARM_UP_S = 3.0  # new objects are made in it


async def watch(url: str, clients: int, what: tuple[str, str], token: str, seconds: float) -> bool:
    """Call for so long and judge."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        sys.exit(f"{url} is no address of the form http://host:port; TLS is not spoken here")
    host, port = parts.hostname, parts.port or 80
    names = [f"watch-{secrets.token_hex(4)}-{number}" for number in range(OBJECTS)]
    headers = f"Authorization: Bearer {token}\r\n" if token else ""
    callers = Callers(
        lambda: Connection(host, port), clients, names, class_name=what[0], method=what[1], headers=headers
    )
    await asyncio.sleep(WARM_UP_S)
    first = time.monotonic()
    print(f"{clients} clients call {'.'.join(what)}; go on and change the cluster for {seconds:g} s", flush=True)
    await asyncio.sleep(seconds)
    last = time.monotonic()
    await callers.stop()
    wrong = callers.wrong() if what == (CLASS, METHOD) else []
    print("\n".join([*callers.calls.failures[:5], *wrong[:5]]))
    seen = served(callers.calls.began_s, callers.calls.ended_s, first, last)
    bounds = serving(seen, len(callers.calls.failures), len(wrong))
    print(verdict("your cluster", bounds, seen_note(seen)), flush=True)
    return kept(bounds)


def main() -> int:
    """0 if the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("HOMING_URL", "http://127.0.0.1:8787"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--class", dest="class_name", default=CLASS)
    parser.add_argument("--method", default=METHOD)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args()
    token = os.environ.get("HOMING_API_TOKEN", "")
    what = (options.class_name, options.method)
    return 0 if uvloop.run(watch(options.url, options.clients, what, token, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
