"""Where a cluster's records are in etcd: everything lies under one prefix."""

from __future__ import annotations

import re

from homing.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class ClusterKeys:
    """The keys of one cluster.

    Args:
        cluster: its name: letters, digits, `.`, `_` and `-`, at most 63.

    Raises:
        ConfigurationError: the name has another form.

    Example:
        >>> ClusterKeys("dev").slot(7)
        b'/homing/dev/slots/00007'
    """

    def __init__(self, cluster: str) -> None:
        check_name("cluster", cluster)
        self.prefix = f"/homing/{cluster}/".encode()
        self.config = self.prefix + b"config"
        self.jurisdictions = self.prefix + b"jurisdictions"
        self.nodes = self.prefix + b"nodes/"
        self.slots = self.prefix + b"slots/"
        self.gateways = self.prefix + b"gateways/"
        self.loads = self.prefix + b"loads/"
        self.deployment = self.prefix + b"deployment"
        self.packages = self.prefix + b"packages/"

    def node(self, node_id: str) -> bytes:
        """The key of a node's record."""
        return self.nodes + node_id.encode()

    def gateway(self, gateway_id: str) -> bytes:
        """The key of a gateway's record."""
        return self.gateways + gateway_id.encode()

    def load(self, node_id: str) -> bytes:
        """The key of what a node says of the load of its slots."""
        return self.loads + node_id.encode()

    def package(self, version_id: str, piece: int | None = None) -> bytes:
        """The key of a piece of a version's package; without a number, the beginning of all."""
        return self.packages + version_id.encode() + (b"/" if piece is None else b"/%03d" % piece)

    def slot(self, slot: int) -> bytes:
        """The key of a slot's record; keys sort as slots do."""
        return self.slots + b"%05d" % slot

    def slot_of(self, key: bytes) -> int | None:
        """The slot that a key is of, or None."""
        if not key.startswith(self.slots):
            return None
        digits = key[len(self.slots) :]
        return int(digits) if len(digits) == 5 and digits.isdigit() else None

    def node_of(self, key: bytes) -> str | None:
        """The node that a key is of, or None."""
        return key[len(self.nodes) :].decode() if key.startswith(self.nodes) else None

    def gateway_of(self, key: bytes) -> str | None:
        """The gateway that a key is of, or None."""
        return key[len(self.gateways) :].decode() if key.startswith(self.gateways) else None

    def load_of(self, key: bytes) -> str | None:
        """The node that a key tells the load of, or None."""
        return key[len(self.loads) :].decode() if key.startswith(self.loads) else None


def check_name(what: str, name: str) -> None:
    """Refuse a name that would not do as a part of a key.

    Raises:
        ConfigurationError: it has another form than letters, digits, `.`, `_` and `-`, at most 63.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{what} name {name!r}: use up to 63 letters, digits, dots, dashes and underscores")
