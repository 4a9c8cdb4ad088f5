"""A small client for the part of etcd that placement uses."""

from homing_placement.etcd.client import EtcdClient
from homing_placement.etcd.endpoint import TlsFiles
from homing_placement.etcd.errors import (
    Compacted,
    EtcdError,
    EtcdRejected,
    EtcdUnavailable,
    LeaseGone,
    UnknownOutcome,
    WatchBroken,
)
from homing_placement.etcd.model import Change, Changes, Compare, Delete, Entry, Lease, Listing, Put, TxnResult

__all__ = [
    "Change",
    "Changes",
    "Compacted",
    "Compare",
    "Delete",
    "Entry",
    "EtcdClient",
    "EtcdError",
    "EtcdRejected",
    "EtcdUnavailable",
    "Lease",
    "LeaseGone",
    "Listing",
    "Put",
    "TlsFiles",
    "TxnResult",
    "UnknownOutcome",
    "WatchBroken",
]
