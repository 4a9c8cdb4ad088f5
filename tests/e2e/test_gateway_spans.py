"""What a gateway exports to OpenTelemetry, as a real receiver gets it over the wire."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from etcd_process import EtcdProcess
from gateway_command import KEYS, GatewayCommand, lay_out
from homing.wire.v1 import call_pb2 as wire
from homing_placement.etcd import Delete, EtcdClient
from otlp_receiver import OtlpReceiver
from stub_node import StubNode, answer, failure

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
OBJECT = "/_homing/v1/objects/Counter/a"
STAGES = ["forward", "queue", "execute", "commit", "forward", "gateway"]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path_factory.mktemp("etcd")) as process:
        yield process


@pytest.fixture
async def node(etcd: EtcdProcess) -> AsyncIterator[StubNode]:
    def on_call(call: wire.Call) -> wire.Reply:
        if call.method == "fail":
            return failure("application-error", "secret 42", error_type="ValueError", started=True)
        return answer(status=200 if call.url else 0)

    async with EtcdClient([etcd.url]) as client, StubNode(on_call=on_call) as found:
        for entry in (await client.list_prefix(KEYS.prefix)).entries:
            await client.txn([], [Delete(entry.key)])
        await lay_out(client, found)
        yield found


async def call(command: GatewayCommand, method: str, traceparent: str = "") -> int:
    headers = {"content-type": "application/json", "x-request-id": f"r-{method}"}
    if traceparent:
        headers["traceparent"] = traceparent
    return (await command.http.post(f"{OBJECT}/rpc/{method}", content=b"{}", headers=headers)).status_code


async def stopped(command: GatewayCommand) -> str:
    """End it as its supervisor would; its output."""
    command.process.send_signal(signal.SIGTERM)
    try:
        assert await asyncio.wait_for(command.process.wait(), 20) == 0
    finally:
        out = await command.end()
    return out


async def test_each_sampled_call_is_one_span_in_its_callers_trace(etcd: EtcdProcess, node: StubNode) -> None:
    """Seen to fail without the parent's context, without the flag of the parent, and without `close` at the end."""
    with OtlpReceiver() as receiver:
        command = GatewayCommand(etcd.url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_BSP_SCHEDULE_DELAY="60000")
        await command.start()
        try:
            await command.until_status("/_homing/readyz", 200)
            assert await call(command, "sampled", SAMPLED) == 200
            assert await call(command, "quiet", NOT_SAMPLED) == 200
            assert await call(command, "root") == 200
            assert await call(command, "fail", SAMPLED) == 500
            assert (await command.http.get(f"{OBJECT}/fetch/p", headers={"traceparent": SAMPLED})).status_code == 200
        finally:
            out = await stopped(command)
    assert "Traceback" not in out, out
    spans = receiver.spans
    assert receiver.paths == {"/v1/traces"}
    assert set(spans) == {"Counter/sampled", "Counter/root", "Counter/fail", "GET Counter"}
    got = {seen.method: seen for seen in node.calls}

    found = spans["Counter/sampled"]
    assert (found.span.trace_id.hex(), found.span.parent_span_id.hex()) == (TRACE, CALLER)
    assert got["sampled"].traceparent == found.traceparent
    assert found.span.kind == Span.SPAN_KIND_SERVER
    assert found.resource["service.name"] == "homing-gateway"
    assert found.attributes["homing.outcome"] == "ok"
    assert found.attributes["homing.request_id"] == "r-sampled"
    times = [found.span.start_time_unix_nano, *(at for _, at in found.events), found.span.end_time_unix_nano]
    assert [name for name, _ in found.events] == STAGES
    assert times == sorted(times)

    assert got["quiet"].traceparent == NOT_SAMPLED
    assert spans["Counter/root"].span.parent_span_id == b""
    assert got["root"].traceparent == spans["Counter/root"].traceparent
    failed = spans["Counter/fail"]
    assert (failed.span.status.code, failed.attributes["error.type"]) == (Status.STATUS_CODE_ERROR, "application-error")
    assert "secret" not in str(failed.span)
    fetched = [header.value for header in got["GET"].headers if header.name == "traceparent"]
    assert fetched == [spans["GET Counter"].traceparent]


async def test_a_receiver_that_hangs_holds_up_nothing(etcd: EtcdProcess, node: StubNode) -> None:
    """Seen to fail without the limit of `close`: the exporter goes on waiting, and the gateway with it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = GatewayCommand(etcd.url, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        await command.start()
        try:
            await command.until_status("/_homing/readyz", 200)
            assert await call(command, "x") == 200
        finally:
            await stopped(command)


async def test_without_its_packages_the_message_says_what_to_install(etcd: EtcdProcess) -> None:
    command = GatewayCommand(etcd.url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    await command.start(before="import sys; sys.modules['opentelemetry'] = None")
    assert await asyncio.wait_for(command.process.wait(), 20) == 1
    out = await command.end()
    assert "pip install 'homing[otel]'" in re.sub(r"\s+", " ", out)
    assert "Traceback" not in out


def test_without_the_variable_none_of_it_is_loaded() -> None:
    """Seen to fail with the import at the top of the server's module."""
    program = (
        "import sys; from homing_gateway.server import GatewayProcess; from homing_gateway.settings import "
        "GatewaySettings; GatewayProcess(GatewaySettings(etcd=('http://127.0.0.1:1',))); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "[]\n"
