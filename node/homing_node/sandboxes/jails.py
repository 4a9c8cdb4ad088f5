"""The jails that sandboxes of this node run in: made ready when the first is needed, given back at the end."""

from __future__ import annotations

import os
import resource
import threading
from dataclasses import replace
from pathlib import Path

import structlog

from homing_node.sandboxes import limits
from homing_node.sandboxes.policy import CGROUPS, UIDS, SandboxPolicy
from homing_node.sandboxes.wheels import Wheels
from homing_node.workers.app_packages import MOUNTED_AT, PackageTree, obtain_packages
from homing_node.workers.jail import JailSpec, nsjail_binary
from homing_node.workers.jail_cache import cache_folder
from homing_node.workers.jail_cgroups import Cgroups, prepare_cgroups
from homing_node.workers.jail_config import JailLimits, Policy, load_policy
from homing_node.workers.runtime_root import runtime_root

_log = structlog.stdlib.get_logger("homing.sandboxes")

ZYGOTE = "from homing_node.sandboxes.inside.zygote import main; main()"
STRICT = "from homing_node.sandboxes.inside.strict import main; main()"


class SandboxJails:
    """Makes the jails of zygotes and of strict sandboxes.

    Args:
        cache_dir: as `PoolConfig.cache_dir`.
        nsjail: as `PoolConfig.nsjail`.
        policy: of the operator.
        wheels: what code in sandboxes can import besides the standard library.
        walls: what nsjail enforces, of a "zygote" and of "strict"; by default that of this machine.
        programs: what runs in the jails, by the same names.

    Attributes:
        lacking: layers that this machine lacks, and what is the matter with each.
    """

    def __init__(
        self, cache_dir: str | None = None, nsjail: str | None = None, policy: SandboxPolicy | None = None,
        wheels: Wheels | None = None, walls: dict[str, Policy] | None = None,
        programs: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._cache_dir, self._nsjail = cache_dir, nsjail
        self.policy = policy or SandboxPolicy()
        self._wheels, self._walls = wheels, walls or {}
        self._programs = {"zygote": ZYGOTE, "strict": STRICT, **(programs or {})}
        self._lock = threading.Lock()
        self._specs: dict[str, JailSpec] = {}
        self._cgroups: Cgroups | None = None
        self._packages: PackageTree | None = None
        self.lacking: dict[str, str] = {}

    def zygote(self) -> JailSpec:
        """The jail of a zygote. It may take some seconds the first time, more where wheels are installed; in a thread.

        Raises:
            JailUnavailable: there is no policy for this machine, no nsjail, or a layer is lacking.
            ConfigurationError: the cache folder cannot be used, or the wheels cannot be installed.
        """
        cpu_ms_per_s = int(1_000 * limits.zygote_cpu_share * (os.cpu_count() or 1))
        return self._spec(
            "zygote",
            JailLimits(
                limits.zygote_address_space_bytes, _memory_bytes(), limits.zygote_files,
                limits.zygote_processes, limits.zygote_stack_bytes, limits.zygote_niceness, cpu_ms_per_s,
            ),
        )  # fmt: skip

    def strict(self, memory_bytes: int) -> JailSpec:
        """The jail of one sandbox, which may take so much memory.

        Raises:
            JailUnavailable, ConfigurationError: as `zygote`.
        """
        cpu_ms_per_s = int(1_000 * limits.zygote_cpu_share * (os.cpu_count() or 1))
        return self._spec(
            "strict",
            JailLimits(
                limits.zygote_address_space_bytes, limits.strict_memory_bytes + memory_bytes, limits.zygote_files,
                limits.strict_processes, limits.zygote_stack_bytes, limits.zygote_niceness, cpu_ms_per_s,
            ),
        )  # fmt: skip

    def _spec(self, kind: str, jail_limits: JailLimits) -> JailSpec:
        with self._lock:
            if kind not in self._specs:
                self._specs[kind] = self._make(kind)
            return replace(self._specs[kind], jail_limits=jail_limits)

    def _make(self, kind: str) -> JailSpec:
        walls = self._walls.get(kind) or load_policy(of=kind)
        nsjail = nsjail_binary(self._nsjail)
        if self._cgroups is None:
            _allow_descriptors()
            self._cgroups = prepare_cgroups(cpu=True)
            self.lacking = lacking_layers(self._cgroups)
            if self.lacking:
                _log.warning("sandboxes lack a layer here", **self.lacking)
        self.policy.check(self.lacking)
        cache = cache_folder(self._cache_dir)
        runtime = runtime_root(cache)
        modules = self._install(cache)
        program = f"import sys; sys.path += {[runtime.site_packages, MOUNTED_AT]!r}; {self._programs[kind]}"
        return JailSpec(
            runtime, runtime.path / "app", (runtime.python, "-I", "-S", "-B", "-X", "utf8", "-c", program, *modules),
            nsjail, self._cgroups, policy=walls, packages=self._packages and self._packages.path,
            zygote=kind == "zygote",
        )  # fmt: skip

    def _install(self, cache: Path) -> list[str]:
        """Have the wheels there; returns the modules that are imported of them."""
        if self._wheels is None:
            return []
        if self._packages is None:  # kept from then on: else it could be pruned
            self._packages = obtain_packages(self._wheels.requirements, cache)
        return self._wheels.modules(self._packages.path)

    def close(self) -> None:
        """Give the cgroup back; every jail is dead."""
        if self._cgroups is not None:
            self._cgroups.remove()


def lacking_layers(cgroups: Cgroups) -> dict[str, str]:
    """Which of `policy.LAYERS` this machine lacks, and what is the matter with each.

    Args:
        cgroups: as they could be had.
    """
    lacking: dict[str, str] = {}
    if os.geteuid() != 0:
        lacking[UIDS] = f"all sandboxes share uid {os.getuid()}, as only that can be mapped"
    if not cgroups.version:
        lacking[CGROUPS] = cgroups.reason
    elif not cgroups.cpu:
        lacking[CGROUPS] = f"version {cgroups.version} has no controller of CPU here"
    return lacking


def _allow_descriptors() -> None:
    """A sandbox is two descriptors of its node: a channel and a pidfd."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _memory_bytes() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * limits.zygote_memory_share)
