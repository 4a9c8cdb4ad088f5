"""What a gateway process is told: `HOMING_*` variables or flags, checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from homing.errors import ConfigurationError
from homing.ids import SLOTS_DEFAULT, SLOTS_MAX
from homing.locations import Jurisdiction, Layout
from homing_gateway.limits import RPC_BYTES_MAX

TOKEN_CHARS_MIN = 16


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: a certificate, its key, and the authority that nodes are signed by."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway's settings.

    Attributes:
        etcd: URLs of etcd.
        listen, grpc_listen, metrics_listen: host:port of HTTP, gRPC and metrics.
        api_token: what callers must show; empty only on loopback.
        latency_target_ms: becomes an edge of the histograms.
        insecure: listen beyond this machine without TLS.
        testing: pass on what tests do to objects and to the clock.
        deploys_since_ms: what was deployed before counts for nothing; `homing dev` sets it at its start.
    """

    etcd: tuple[str, ...]
    cluster: str = "homing"
    slots: int = SLOTS_DEFAULT
    jurisdictions: tuple[Jurisdiction, ...] = ()
    listen: str = "127.0.0.1:8787"
    grpc_listen: str = "127.0.0.1:8788"
    metrics_listen: str = "127.0.0.1:9464"
    api_token: str = ""
    rpc_bytes_max: int = RPC_BYTES_MAX
    latency_target_ms: float = 15.0
    log_level: str = "info"
    log_style: str = "json"
    insecure: bool = False
    tls: Tls | None = None
    testing: bool = False
    deploys_since_ms: int = 0

    def check(self) -> None:
        """Refuse what cannot work or is not safe.

        Raises:
            ConfigurationError: says which setting, and what to do.
        """
        if not self.etcd:
            raise ConfigurationError("HOMING_ETCD is empty; give at least one URL, such as http://127.0.0.1:2379")
        if not 1 <= self.slots <= SLOTS_MAX or self.slots & (self.slots - 1):
            raise ConfigurationError(f"HOMING_SLOTS is {self.slots}; it must be a power of two up to {SLOTS_MAX}")
        _ = self.layout  # raises where there would be too many slots
        if self.latency_target_ms <= 0:
            raise ConfigurationError("HOMING_LATENCY_TARGET_MS must be above 0")
        if self.rpc_bytes_max <= 0:
            raise ConfigurationError("HOMING_RPC_BYTES_MAX must be above 0")
        if self.api_token and not (self.api_token.isascii() and self.api_token.isprintable()):
            raise ConfigurationError("HOMING_API_TOKEN must be printable ASCII")
        for name, address in (("HOMING_LISTEN", self.listen), ("HOMING_GRPC_LISTEN", self.grpc_listen)):
            self._check_exposed(name, address)
        split_address(self.metrics_listen)

    @property
    def layout(self) -> Layout:
        """The cluster's slots."""
        return Layout(self.slots, self.jurisdictions)

    def _check_exposed(self, name: str, address: str) -> None:
        """Beyond this machine a token is needed, and TLS or a word that it is not wanted."""
        host = split_address(address)[0]
        if is_loopback(host):
            return
        if self.testing:
            raise ConfigurationError(f"{name} is {address}; HOMING_TESTING is for clusters of tests, on loopback")
        if len(self.api_token) < TOKEN_CHARS_MIN:
            raise ConfigurationError(
                f"{name} is {address}, beyond this machine, and there is no API token of at least {TOKEN_CHARS_MIN} "
                "characters. Set HOMING_API_TOKEN (for example to the output of `openssl rand -hex 32`), or listen on "
                "127.0.0.1."
            )
        if self.tls is None and not self.insecure:
            raise ConfigurationError(
                f"{name} is {address}, beyond this machine, without TLS. Set HOMING_TLS_CERT, HOMING_TLS_KEY and "
                "HOMING_TLS_CA, or pass --insecure if something in front of the gateway speaks TLS."
            )


def tls_from(cert: str | None, key: str | None, ca: str | None) -> Tls | None:
    """The three files, or None when none is named.

    Raises:
        ConfigurationError: only some are named, or one cannot be read.
    """
    named = (cert, key, ca)
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
