"""`homing gateway` as a process: a real etcd in front of it, a stub node behind it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from etcd_process import EtcdProcess
from gateway_command import KEYS, SLOTS, GatewayCommand, lay_out
from gateway_process import until
from homing_placement.etcd import Delete, EtcdClient
from stub_node import StubNode, answer

CALL = "/_homing/v1/objects/Counter/a/rpc/x"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> EtcdProcess:
    with EtcdProcess(tmp_path_factory.mktemp("etcd")) as process:
        yield process


@pytest.fixture
async def client(etcd: EtcdProcess) -> AsyncIterator[EtcdClient]:
    async with EtcdClient([etcd.url]) as found:
        for entry in (await found.list_prefix(KEYS.prefix)).entries:
            await found.txn([], [Delete(entry.key)])
        yield found


async def test_a_gateway_from_start_to_drain(etcd: EtcdProcess, client: EtcdClient) -> None:
    node = StubNode(on_call=lambda call: None if call.method == "slow" else answer())
    command = GatewayCommand(etcd.url)
    async with node:
        await command.start()
        try:
            await command.until_status("/_homing/healthz", 200)
            assert await command.status("/_homing/readyz") == 503
            await lay_out(client, node)
            await command.until_status("/_homing/readyz", 200)
            assert (await command.http.post(CALL, content=b"{}", headers=JSON)).content == b'{"result":1}'

            cluster = (await command.http.get("/_homing/v1/cluster")).json()
            assert cluster["gateways"] == [{"pid": command.process.pid, "metrics": f"127.0.0.1:{command.metrics_port}"}]
            assert len(cluster["slots"]) == SLOTS
            async with httpx.AsyncClient() as scraper:
                text = (await scraper.get(f"http://127.0.0.1:{command.metrics_port}/metrics")).text
            families = {family.name: family for family in text_string_to_metric_families(text)}
            assert {"homing_request_seconds", "homing_stage_seconds", "homing_latency_target_seconds"} <= set(families)
            assert {sample.labels["stage"] for sample in families["homing_stage_seconds"].samples} == {
                "gateway", "forward", "queue", "execute", "commit"
            }  # fmt: skip

            slow = asyncio.create_task(command.http.post(CALL[:-1] + "slow", content=b"{}", headers=JSON))
            await until(lambda: any(call.method == "slow" for call in node.calls))
            command.process.send_signal(signal.SIGTERM)
            await command.until_status("/_homing/readyz", 503)
            await asyncio.sleep(1.0)
            assert command.process.returncode is None
            waiting = next(call for call in node.calls if call.method == "slow")
            late = answer(b'{"result":"late"}')
            late.id = waiting.id
            node.push(late)
            assert (await slow).content == b'{"result":"late"}'
            assert await asyncio.wait_for(command.process.wait(), 10) == 0
            assert (await client.list_prefix(KEYS.gateways)).entries == ()
        finally:
            out = await command.end()
        assert "Traceback" not in out, out


async def test_a_cluster_of_another_size_is_refused(etcd: EtcdProcess, client: EtcdClient) -> None:
    command = GatewayCommand(etcd.url, HOMING_SLOTS="128")
    async with StubNode() as node:
        await lay_out(client, node)
        await command.start()
        assert await asyncio.wait_for(command.process.wait(), 20) == 1
        out = await command.end()
    assert "HOMING_SLOTS=64" in out
    assert "Traceback" not in out


async def test_a_taken_port_is_said_plainly(etcd: EtcdProcess) -> None:
    first, second = GatewayCommand(etcd.url), GatewayCommand(etcd.url)
    await first.start()
    try:
        await first.until_status("/_homing/healthz", 200)
        second.env["HOMING_LISTEN"] = first.env["HOMING_LISTEN"]
        await second.start()
        assert await asyncio.wait_for(second.process.wait(), 20) == 1
        out = await second.end()
        assert f"cannot listen on 127.0.0.1:{first.port}" in out
        assert "Traceback" not in out
    finally:
        await first.end()


async def test_calls_go_on_while_etcd_is_away(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        command = GatewayCommand(etcd.url)
        async with StubNode() as node, EtcdClient([etcd.url]) as client:
            await lay_out(client, node)
            await command.start()
            try:
                await command.until_status("/_homing/readyz", 200)
                etcd.pause()
                for _ in range(20):
                    assert (await command.http.post(CALL, content=b"{}", headers=JSON)).status_code == 200
                    await asyncio.sleep(0.1)
                assert await command.status("/_homing/readyz") == 200
            finally:
                etcd.resume()
                await command.end()
