"""A node that is paused keeps its connections open and answers nothing: the gateway must not wait for deadlines."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from etcd_process import free_port
from gateway_process import check_problem, running, until
from stub_node import StubNode

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SERVE = "import asyncio, sys; from stub_node import serve_forever; asyncio.run(serve_forever(sys.argv[1]))"
UNKNOWN_WITHIN_S = 6.0


async def test_calls_on_a_paused_node_end_as_unknown() -> None:
    """Seen to fail without the ping timeout of its own: the calls hung until their deadlines."""
    outside = StubNode("n2")
    outside.address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, outside.address, env={**os.environ, "PYTHONPATH": str(SUPPORT)}
    )
    try:
        async with running(lane=True) as gate:
            gate.table.add(outside, epoch=2)
            await until(lambda: gate.gateway.forwarder.links["n2"].up, limit_s=20)
            assert (await gate.rpc()).status_code == 200
            assert gate.node.calls == []
            process.send_signal(signal.SIGSTOP)
            started_s = time.monotonic()
            check_problem(await gate.rpc(), 502, "outcome-unknown")
            assert time.monotonic() - started_s < UNKNOWN_WITHIN_S
            gate.table.add(gate.node, epoch=3)
            assert (await gate.rpc()).status_code == 200
            assert len(gate.node.calls) == 1
            process.send_signal(signal.SIGCONT)
            await until(lambda: gate.gateway.forwarder.links["n2"].up, limit_s=20)
    finally:
        process.kill()
        await process.wait()
