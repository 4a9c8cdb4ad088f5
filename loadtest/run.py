"""`make load`: a mixed load from locust, its HTML report, and each stage of a call against the latency target.

    run.py [--seconds 30] [--users 60] [--nodes 3] [--url URL] [--report FILE.html]

Without `--url` it starts a cluster with `examples/hello` for the time of the test. With one, the cluster at this URL
must run that application. The exit code is 1 when a call failed, or when the 99th percentile of all calls is over the
target.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from benchmarks.scrape import Scrape, metrics_addresses, scrape_addresses, stage_table
from tests.chaos.client import Connection
from tests.chaos.cluster import DevCluster, View

APP = ROOT / "examples" / "hello"
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
REPORT = Path(__file__).with_name("report.html")
WARM_UP_S = 5.0
TARGET_MS = 15.0


@contextlib.contextmanager
def cluster_at(url: str | None, nodes: int) -> Generator[str]:
    """The URL of the cluster to call; one is started when none is given."""
    if url is not None:
        yield url.rstrip("/")
        return
    with DevCluster(APP, nodes) as cluster:
        print(f"a cluster of {nodes} with {APP.name} is up at {cluster.url}", flush=True)
        yield cluster.url


def locust(url: str, users: int, seconds: float, report: Path | None) -> int:
    """Run locust without its page; returns its exit code, which is not 0 when a call failed."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--host", url]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds:g}s"]
    command += ["--loglevel", "WARNING", *(["--html", str(report)] if report else [])]
    output = None if report else subprocess.DEVNULL
    return subprocess.run(command, check=False, cwd=ROOT, stdout=output, stderr=output).returncode


async def scrape_at(url: str) -> Scrape:
    """Scrape every part of the cluster behind a gateway's URL.

    Raises:
        OSError: the gateway or a part did not answer.
    """
    where = urlsplit(url)
    token = os.environ.get("HOMING_API_TOKEN")
    headers = f"Authorization: Bearer {token}\r\n" if token else ""
    host, port = where.hostname or "127.0.0.1", where.port or 80
    connection = Connection(host, port)
    request = f"GET /_homing/v1/cluster HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n"
    answer = await connection.send(request.encode(), 10.0)
    connection.close()
    if answer.status != 200:
        raise ConnectionError(f"{url} answered {answer.status}")
    return await scrape_addresses(metrics_addresses(msgspec.json.decode(answer.body, type=View)))


def main() -> int:
    """Load a cluster and judge it; 0 if no call failed and the target was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--url")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    with cluster_at(options.url, options.nodes) as url:
        locust(url, options.users, WARM_UP_S, None)  # first calls build objects; they are not what is asked here
        before = asyncio.run(scrape_at(url))
        code = locust(url, options.users, options.seconds, options.report)
        observed = asyncio.run(scrape_at(url)).since(before)
    print("\n".join(stage_table(observed, TARGET_MS)))
    p99_ms = observed.histogram("homing_request_seconds", {"route": "rpc"}).percentile(0.99) * 1e3
    print(f"the report is {options.report}")
    well = code == 0 and p99_ms <= TARGET_MS
    print(f"load: {'target met, no call failed' if well else 'FAILED' if code else 'the target was missed'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
