"""Limits of objects, unit last in every name. Settings may lower or raise those that `HostLimits` repeats."""

from dataclasses import dataclass

calls_per_object_max = 1_000  # waiting or running in one activation; more are refused with 429
calls_bytes_per_object_max = 32 << 20
stateless_calls_max = 1_000
activations_per_worker_max = 20_000
idle_s = 10.0  # an activation without work for this long is evicted
sweep_s = 1.0
kept_open_s_max = 15 * 60.0  # pending timers or wait_until block eviction no longer than this
close_retry_s = 10.0  # an activation that would not close is asked again after this
pages_inline_bytes_max = 256 << 10
open_in_thread_pages = 256  # larger databases are read off the loop
key_bytes_max = 255
key_kept_min_ms = 10 * 60 * 1_000
key_kept_max_ms = 24 * 60 * 60 * 1_000
keys_kept_max = 1_000
keys_bytes_max = 4 << 20  # of keys and recorded answers of one object; if even the youngest do not fit: 429
list_objects_max = 1_000
commit_bytes_max = 16 << 20
database_bytes_max = 64 << 20


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Limits that settings may change.

    Attributes:
        idle_s: an activation without work for this long is evicted.
        activations_per_worker_max: above it the least recently used idle one is evicted.
    """

    idle_s: float = idle_s
    activations_per_worker_max: int = activations_per_worker_max
