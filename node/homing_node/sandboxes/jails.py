"""The jail that zygotes of this node run in: made ready when the first is needed, given back at the end."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import structlog

from homing_node.sandboxes import limits
from homing_node.sandboxes.wheels import Wheels
from homing_node.workers.app_packages import MOUNTED_AT, PackageTree, obtain_packages
from homing_node.workers.jail import JailSpec, nsjail_binary
from homing_node.workers.jail_cache import cache_folder
from homing_node.workers.jail_cgroups import Cgroups, prepare_cgroups
from homing_node.workers.jail_config import JailLimits, Policy, load_policy
from homing_node.workers.runtime_root import runtime_root

_log = structlog.stdlib.get_logger("homing.sandboxes")

_PROGRAM = "from homing_node.sandboxes.inside.zygote import main; main()"


class ZygoteJails:
    """Makes the jail of zygotes, once.

    Args:
        cache_dir: as `PoolConfig.cache_dir`.
        nsjail: as `PoolConfig.nsjail`.
        wheels: what code in sandboxes can import besides the standard library.
        policy: what nsjail enforces; by default that of this machine.
        program: what runs in the jail; by default the zygote.
    """

    def __init__(
        self, cache_dir: str | None = None, nsjail: str | None = None, wheels: Wheels | None = None,
        policy: Policy | None = None, program: str = _PROGRAM,
    ) -> None:  # fmt: skip
        self._cache_dir, self._nsjail, self._wheels = cache_dir, nsjail, wheels
        self._policy, self._program = policy, program
        self._lock = threading.Lock()
        self._spec: JailSpec | None = None
        self._cgroups = Cgroups(0)
        self._packages: PackageTree | None = None

    def spec(self) -> JailSpec:
        """The jail. It may take some seconds the first time, more where wheels are installed; call it in a thread.

        Raises:
            JailUnavailable: there is no policy for this machine, or no nsjail.
            ConfigurationError: the cache folder cannot be used, or the wheels cannot be installed.
        """
        with self._lock:
            if self._spec is None:
                self._spec = self._make()
            return self._spec

    def _make(self) -> JailSpec:
        _allow_descriptors()
        policy = self._policy or load_policy(of="zygote")
        nsjail = nsjail_binary(self._nsjail)
        cache = cache_folder(self._cache_dir)
        runtime = runtime_root(cache)
        modules = self._install(cache)
        self._cgroups = prepare_cgroups(cpu=True)
        if self._cgroups.reason:
            _log.warning("sandboxes are limited by rlimits alone", reason=self._cgroups.reason)
        program = f"import sys; sys.path += {[runtime.site_packages, MOUNTED_AT]!r}; {self._program}"
        cpu_ms_per_s = int(1_000 * limits.zygote_cpu_share * (os.cpu_count() or 1))
        jail_limits = JailLimits(
            limits.zygote_address_space_bytes, _memory_bytes(), limits.zygote_files,
            limits.zygote_processes, limits.zygote_stack_bytes, limits.zygote_niceness, cpu_ms_per_s,
        )  # fmt: skip
        return JailSpec(
            runtime, runtime.path / "app", (runtime.python, "-I", "-S", "-B", "-X", "utf8", "-c", program, *modules),
            nsjail, self._cgroups, jail_limits, policy, self._packages and self._packages.path, zygote=True,
        )  # fmt: skip

    def _install(self, cache: Path) -> list[str]:
        """Have the wheels there; returns the modules that a zygote imports of them."""
        if self._wheels is None:
            return []
        self._packages = obtain_packages(self._wheels.requirements, cache)  # kept: else it could be pruned
        return self._wheels.modules(self._packages.path)

    def close(self) -> None:
        """Give the cgroup back; every zygote is dead."""
        self._cgroups.remove()


def _allow_descriptors() -> None:
    """A sandbox is two descriptors of its node: a channel and a pidfd."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _memory_bytes() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * limits.zygote_memory_share)
