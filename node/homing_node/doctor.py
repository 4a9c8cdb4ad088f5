"""What `homing doctor` looks at: whether this machine can build jails, and what it lacks."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homing.errors import HomingError
from homing.sandboxes import Asked
from homing_node.metrics import NodeMetrics
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.policy import SandboxPolicy
from homing_node.sandboxes.service import Sandboxes
from homing_node.workers import limits
from homing_node.workers.jail import Jail, JailSpec, explain_exit, nsjail_binary, spawn
from homing_node.workers.jail_cache import TreeCache, cache_folder
from homing_node.workers.jail_cgroups import prepare_cgroups
from homing_node.workers.jail_system import status_of
from homing_node.workers.jail_uids import uid_range
from homing_node.workers.process_output import OutputPipe
from homing_node.workers.runtime_root import runtime_root

_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_PROBE_TIMEOUT_S = 20.0
# Says that it runs, then lives until the node's end of the channel closes.
_PROBE = "import os; os.write(3, b'x'); os.read(3, 1)"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what it is, in a few words.
        ok: whether workers can run with it. A weakness that does not stop them is ok, and `detail` names it.
        detail: what was seen.
        hint: what to do; empty when there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""


def examine(
    cache_dir: str | None = None, nsjail: str | None = None, sandboxes: SandboxPolicy | None = None
) -> list[Finding]:
    """Look at everything that a jail needs, and build one. Call it from the main thread, outside an event loop.

    Args:
        cache_dir: as `PoolConfig.cache_dir`.
        nsjail: as `PoolConfig.nsjail`.
        sandboxes: as `NodeSettings.sandboxes`.

    Example:
        >>> [finding.name for finding in examine() if not finding.ok]
        []
    """
    looks: list[Callable[[], Finding]] = [
        _user_namespaces,
        _apparmor,
        lambda: _nsjail(nsjail),
        lambda: _cache(cache_dir),
        _uids,
        _cgroups,
        _rlimits,
        lambda: _jail(cache_dir, nsjail),
        lambda: _sandbox(SandboxJails(cache_dir, nsjail, sandboxes)),
    ]
    return [look() for look in looks]


def exit_code(findings: list[Finding]) -> int:
    """0 when workers can run on this machine, else 1."""
    return 0 if all(finding.ok for finding in findings) else 1


def _setting(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _user_namespaces() -> Finding:
    name = "user namespaces"
    if not Path("/proc/self/ns/user").exists():
        return Finding(name, False, "this kernel has none", "Use a kernel with CONFIG_USER_NS.")
    if _setting("/proc/sys/user/max_user_namespaces") == "0":
        hint = "Run `sysctl user.max_user_namespaces=10000`, or set it for this container."
        return Finding(name, False, "user.max_user_namespaces is 0", hint)
    if os.geteuid() != 0 and _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        hint = "Run `sysctl kernel.unprivileged_userns_clone=1`, or run the node as root."
        return Finding(name, False, "only root may make them", hint)
    return Finding(name, True, "this user may make them")


def _apparmor() -> Finding:
    name = "AppArmor"
    if os.geteuid() != 0 and _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        hint = "Run `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, give nsjail a profile, or run as root."
        return Finding(name, False, "it forbids mounts in user namespaces of ordinary users", hint)
    return Finding(name, True, "it does not restrict user namespaces")


def _nsjail(explicit: str | None) -> Finding:
    name = "nsjail"
    try:
        binary = nsjail_binary(explicit)
        # It has no --version; its help names the options, of which we need one that old versions lack.
        done = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=10, check=False, env={})  # noqa: S603 - the binary that workers get
    except (HomingError, OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, str(error), "Install homing's dependencies again: `make setup`.")
    if "--iface_no_lo" not in done.stdout + done.stderr:
        detail = f"{binary} does not run: {(done.stderr or done.stdout).strip()[:300]}"
        return Finding(
            name, False, detail, "It needs glibc 2.34 or newer (Debian 12), or build nsjail for this machine."
        )
    return Finding(name, True, f"{binary} runs")


def _cache(cache_dir: str | None) -> Finding:
    name = "cache"
    try:
        folder = cache_folder(cache_dir)
    except HomingError as error:
        return Finding(name, False, error.message, "Set HOMING_CACHE_DIR to a folder that every user may enter.")
    return Finding(name, True, f"{folder} can be reached by workers")


def _uids() -> Finding:
    name = "uids"
    if os.geteuid() != 0:
        hint = "Run the node as root, and each worker has a uid of its own."
        return Finding(name, True, f"all workers share uid {os.getuid()}, as only that can be mapped", hint)
    uids = uid_range(_setting("/proc/self/uid_map"))
    if not uids:
        hint = "Give the container 65,536 uids."
        return Finding(name, False, "this container maps too few uids for workers to have their own", hint)
    return Finding(name, True, f"each worker has its own, from {uids.start} to {uids.stop - 1}")


def _cgroups() -> Finding:
    groups = prepare_cgroups()
    groups.remove()
    if groups.version:
        return Finding("cgroups", True, f"version {groups.version} limits memory and processes of each worker")
    hint = "As a systemd service: `Delegate=yes`. In a container: `--cgroupns=host`, or a writable cgroup."
    return Finding("cgroups", True, f"none; workers are limited by rlimits alone: {groups.reason}", hint)


def _rlimits() -> Finding:
    name = "rlimits"
    asked = {
        "files": (resource.RLIMIT_NOFILE, limits.worker_files_max),
        "processes": (resource.RLIMIT_NPROC, limits.worker_processes_max),
        "address space": (resource.RLIMIT_AS, limits.worker_address_space_bytes_max),
        "stack": (resource.RLIMIT_STACK, limits.worker_stack_bytes_max),
    }
    for what, (number, wanted) in asked.items():
        hard = resource.getrlimit(number)[1]
        if hard not in (resource.RLIM_INFINITY, -1) and hard < wanted:
            hint = "Raise it with `ulimit -H`, or in the service's unit."
            return Finding(name, False, f"the hard limit on {what} is {hard}; a worker needs {wanted}", hint)
    return Finding(name, True, "the hard limits leave room for those of a worker")


def _jail(cache_dir: str | None, nsjail: str | None) -> Finding:
    name = "a jail"
    try:
        wrong = asyncio.run(_build_one(cache_dir, nsjail))
    except (HomingError, OSError) as error:
        return Finding(name, False, str(error), "The lines above may say why; else nsjail's own words do.")
    if wrong:
        return Finding(name, False, wrong, "Do not run workers on this machine: their walls have a hole.")
    return Finding(name, True, "was built: no capability, no new privileges, seccomp filter on")


async def _build_one(cache_dir: str | None, nsjail: str | None) -> str:
    """Build a jail and look at it from outside; returns what is wrong."""
    folder = cache_folder(cache_dir)
    runtime = runtime_root(folder)
    app, lock = TreeCache(folder / "apps", limits.cached_apps_max).obtain("empty", lambda _: None)
    groups = prepare_cgroups()
    try:
        command = (runtime.python, "-I", "-S", "-B", "-c", _PROBE)
        jail = spawn(JailSpec(runtime, app, command, nsjail_binary(nsjail), groups))
        words: list[str] = []
        pipes = [OutputPipe(fd, words.append) for fd in (jail.stdout, jail.stderr)]
        try:
            wrong = await _look_at(jail)
        finally:
            jail.channel.close()
            jail.kill()
            status = await jail.wait_dead()
            for pipe in pipes:
                pipe.close()
        return f"it did not run ({explain_exit(status)}): {' '.join(words)[:1000]}" if wrong is None else wrong
    finally:
        groups.remove()
        lock.release()


async def _look_at(jail: Jail) -> str | None:
    """What is wrong with a jail's walls; empty when nothing is, None when nothing ran in it."""
    await jail.find_inner()
    jail.channel.setblocking(False)
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            if not await asyncio.get_running_loop().sock_recv(jail.channel, 1):
                return None
    except (TimeoutError, OSError):
        return None
    status = status_of(jail.inner_pid)
    held = [name for name in _CAPABILITY_SETS if int(status.get(name, "1"), 16) != 0]
    if held:
        return f"the worker has capabilities: {', '.join(held)}"
    if status.get("NoNewPrivs") != "1":
        return "the worker may gain privileges"
    if status.get("Seccomp") != "2":
        return "the worker has no seccomp filter"
    return ""


def _sandbox(jails: SandboxJails) -> Finding:
    name = "a sandbox"
    try:
        asyncio.run(_run_code(jails))
    except (HomingError, OSError) as error:
        return Finding(name, False, str(error), "Objects run; code that they give to `homing.run` does not.")
    lacking = "; ".join(f"{layer}: {why}" for layer, why in jails.lacking.items())
    if lacking:
        return Finding(name, True, f"ran code, without a layer, as it was told to: {lacking}", "Run the node as root.")
    return Finding(name, True, "ran code, under a uid of its own")


async def _run_code(jails: SandboxJails) -> None:
    """Run a line in a sandbox.

    Raises:
        HomingError: it came to nothing.
    """
    sandboxes = Sandboxes(jails, NodeMetrics(1.0))
    serving = asyncio.ensure_future(sandboxes.serve())
    await asyncio.sleep(0)
    try:
        error = (await sandboxes.run(Asked("1 + 1")))[3]
        if error is not None:
            raise HomingError(f"code in a sandbox did not run: {error[1]}")
    finally:
        await sandboxes.close()
        await serving
        jails.close()
