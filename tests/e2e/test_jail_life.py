"""The life of a jailed worker: it starts or says why not, it is contained, it ends, and nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from homing.errors import ConfigurationError, JailUnavailable, Unavailable
from homing_node.workers.jail import spawn
from homing_node.workers.jail_cgroups import Cgroups, prepare_cgroups
from homing_node.workers.jail_config import JailLimits, Policy, load_policy
from homing_node.workers.jail_system import children_of, parent_of
from homing_node.workers.process import AppFailed
from jailed import MIB, Probe, dead, exists, jail_spec, probe, proc, python, worker_spec


async def gone(pid: int) -> bool:
    """Whether a process is dead within a second."""
    for _ in range(100):
        if dead(pid):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_it_says_what_the_application_offers():
    async with probe() as started:
        assert started.worker.classes == {"Probe": ["run"]}
        assert not started.worker.has_default
        assert started.worker.usable
        assert started.worker.writable
        assert started.worker.pid > 1


async def test_after_a_kill_no_process_is_left():
    before = set(children_of(os.getpid()))
    async with probe() as started:
        pid = started.worker.pid
        nsjail = parent_of(pid)
        assert nsjail is not None
        started.worker.kill("because")
        assert await started.end() == "because"
    assert not exists(pid)
    assert not exists(nsjail)
    assert set(children_of(os.getpid())) == before


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import ctypes; ctypes.string_at(0)", "a segmentation fault"),
        ("import os; os.close(3)", "exit status"),
    ],
)
async def test_its_own_end_is_told(code: str, reason: str):
    async with probe() as started:
        started.ask(code)
        assert reason in await started.end()


async def test_sys_exit_is_an_exception_like_others():
    async with probe() as started:
        assert (await started.run("import sys; sys.exit(4)"))[0] == "SystemExit"
        assert await started.run("result = 1") == 1


async def test_sigkill_of_the_worker():
    async with probe() as started:
        os.kill(started.worker.pid, signal.SIGKILL)
        assert "SIGKILL" in await started.end()


async def test_sigkill_of_nsjail_takes_the_worker_along_and_leaves_no_zombie():
    async with probe() as started:
        pid = started.worker.pid
        os.kill(parent_of(pid) or 0, signal.SIGKILL)
        assert "SIGKILL" in await started.end()
        assert not exists(pid)


async def test_a_stopped_worker_hangs_and_is_killed():
    async with probe(silence_s_max=1.0) as started:
        os.kill(started.worker.pid, signal.SIGSTOP)
        assert await started.end() == "it gave no sign of life for 1 s"


async def test_an_endless_loop_is_killed_for_its_cpu_and_not_before():
    async with probe(turn_cpu_s_max=1.0, silence_s_max=0.5) as started:
        began = time.monotonic()
        started.ask("while True: pass")
        assert await started.end() == "one turn used more than 1 s of CPU"
        assert time.monotonic() - began > 1.0


async def test_busy_is_not_hung():
    async with probe(turn_cpu_s_max=10.0, silence_s_max=0.5) as started:
        code = "import time; end = time.process_time() + 1\nwhile time.process_time() < end: pass\nresult = 1"
        assert await started.run(code) == 1
        assert started.worker.usable


async def test_a_memory_bomb_is_a_memory_error_in_the_worker():
    async with probe() as started:
        code = "held = []\nwhile True: held.append(bytearray(16 * 1024 * 1024))"
        assert (await started.run(code))[0] == "MemoryError"
        assert await started.run("result = 1") == 1


async def test_a_thread_bomb_stops_at_the_limit():
    code = """
import threading, time
threading.stack_size(64 * 1024)
threads = []
try:
    for _ in range(1000):
        threads.append(threading.Thread(target=time.sleep, args=(60,), daemon=True))
        threads[-1].start()
except RuntimeError:
    pass
result = len(threads)
"""
    async with probe() as started:
        assert 4 < await started.run(code) <= 32
        assert await started.run("result = 1") == 1


async def test_a_huge_print_neither_blocks_the_node_nor_fills_its_log():
    async with probe() as started:
        longest = 0.0
        asked = started.ask("import os\nfor _ in range(64): os.write(1, b'x' * 100_000 + b'\\n' * 20)\nresult = 1")
        while not asked.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
        assert asked.result() == ["ok", 1]
        assert longest < 0.5
        await asyncio.sleep(1.1)
        await started.run("import os; os.write(2, b'the end\\n')")
    assert ("stderr", "the end") in started.lines
    assert len(started.lines) < 500
    assert all(len(line) < 9000 for _, line in started.lines)


@pytest.mark.parametrize(
    "data",
    [
        "b'\\xff\\xff\\xff\\x7f'",  # a frame of 2 GiB
        "b'\\x01\\x00\\x00\\x00\\xc1'",  # no MessagePack
        "b'\\x02\\x00\\x00\\x00\\x91\\x00'",  # READY again
        "b'\\x03\\x00\\x00\\x00\\x92\\x04\\xa0'",  # PONG without a number
    ],
)
async def test_a_worker_that_breaks_the_protocol_is_killed(data: str):
    async with probe() as started:
        started.ask(f"import os, time; os.write(3, {data}); time.sleep(60)")
        assert "protocol" in await started.end()


async def failed(main: str = "main", **changes: object) -> BaseException:
    started = Probe(worker_spec(main, **changes))
    await started.worker.live()
    error = started.worker.ready.exception()
    assert error is not None
    return error


async def test_an_application_that_fails_to_import_says_why():
    error = await failed("failing")
    assert isinstance(error, AppFailed)
    assert (error.error_type, error.traceback) == ("ValueError", "Traceback: line 1")
    assert "no such thing" in error.message


@pytest.mark.parametrize("main", ["spinning", "sleeping"])
async def test_an_application_that_never_imports_is_given_up(main: str):
    error = await failed(main, hello_timeout_s=1.0)
    assert isinstance(error, Unavailable)
    assert "not imported after 1 s" in error.message


async def test_an_application_that_leaves_is_no_fault_of_the_jail():
    """Its status is nsjail's own for a failed jail; only nsjail's words tell them apart."""
    error = await failed("leaving")
    assert isinstance(error, Unavailable)


POLICY = load_policy()
BROKEN = {
    "a policy that is no kafel": Policy(
        POLICY.config, "POLICY worker { ALLOW { no_such_call } } USE worker DEFAULT KILL"
    ),
    "a configuration that is no protobuf": Policy(POLICY.config + "\nno_such_field: 1\n", POLICY.seccomp),
    "a mount of nothing": Policy(POLICY.config.replace("@APP@", "/no/such/folder"), POLICY.seccomp),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_jail_that_cannot_be_built_is_an_error(name: str):
    """Rule: never a fallback to no jail. Nothing ran: the program would have said READY."""
    error = await failed(jail=replace(jail_spec(), policy=BROKEN[name]))
    assert isinstance(error, JailUnavailable), error
    assert "[E]" in error.message or "[F]" in error.message
    assert "homing doctor" in error.hint


async def test_a_cgroup_that_cannot_be_made_is_an_error():
    nowhere = Cgroups(1, (Path("/sys/fs/cgroup/none/homing"), Path("/sys/fs/cgroup/none/homing")))
    assert isinstance(await failed(jail=replace(jail_spec(), cgroups=nowhere)), JailUnavailable)


async def test_an_nsjail_that_is_not_there_is_an_error():
    assert isinstance(await failed(jail=replace(jail_spec(), nsjail=Path("/no/nsjail"))), JailUnavailable)


def test_a_machine_without_a_policy_is_an_error():
    with pytest.raises(JailUnavailable, match="riscv64"):
        load_policy("riscv64")


async def test_jails_start_in_the_main_thread_only():
    with pytest.raises(ConfigurationError, match="main thread"):
        await asyncio.to_thread(spawn, jail_spec())


async def test_cgroups_limit_a_worker_where_the_host_has_them():
    groups = prepare_cgroups()
    if not groups.version:
        assert groups.reason
        return
    roomy = JailLimits(address_space_bytes=2048 * MIB, memory_bytes=64 * MIB)
    try:
        async with probe(jail=replace(jail_spec(roomy), cgroups=groups)) as started:
            members = proc(started.worker.pid, "cgroup")
            assert groups.groups[0].name in members
            started.ask("held = []\nwhile True: held.append(b'x' * (1024 * 1024))")
            assert "memory limit" in await started.end()
    finally:
        groups.remove()
    assert not any(group.exists() for group in groups.groups)


NODE = """
import asyncio
from jailed import Probe, worker_spec

async def main():
    probes = [Probe(worker_spec()), Probe(worker_spec())]
    async with asyncio.TaskGroup() as group:
        for probe in probes:
            group.create_task(probe.worker.live())
        for probe in probes:
            await probe.worker.ready
        probes[1].ask("while True: pass")
        print(*(probe.worker.pid for probe in probes), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_node_that_is_killed_leaves_no_jail():
    """Also not the worker that computes and never reads its channel. Seen to fail without `parented`."""
    node = python(NODE)
    assert node.stdout is not None
    try:
        pids = [int(word) for word in node.stdout.readline().split()]
        jails = [parent_of(pid) or 0 for pid in pids]
        assert len(pids) == 2
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    for pid in (*pids, *jails):
        assert await gone(pid), proc(pid, "status")


async def test_the_command_line_of_a_jail_names_no_path_of_the_application():
    """Any user of the host may read it."""
    async with probe() as started:
        nsjail = parent_of(started.worker.pid) or 0
        words = proc(nsjail, "cmdline").split("\0")
        assert words[1:4] == ["--config", "/proc/self/fd/4", "--"]
        assert proc(nsjail, "environ") in ("", "LC_CTYPE=C.UTF-8\0")
