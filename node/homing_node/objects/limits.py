"""Limits of objects, unit last in every name. Settings may lower or raise those that `HostLimits` repeats."""

from dataclasses import dataclass

calls_per_object_max = 1_000  # waiting or running in one activation; more are refused with 429
calls_bytes_per_object_max = 32 << 20
rate_window_s = 10.0  # in which the calls of one object are counted
stateless_calls_max = 1_000
refused_lanes_max = 20_000  # in which a refused call is waited for
outgoing_calls_max = 1_000  # of one activation, without an answer; its worker refuses more
outgoing_s_max = 600.0  # a call that an object makes for no call with a deadline has this long
activations_per_worker_max = 20_000
idle_s = 10.0  # an activation without work for this long is evicted
sweep_s = 1.0
kept_open_s_max = 15 * 60.0  # pending timers or wait_until block eviction no longer than this
leave_s_max = 25.0  # an activation that another version takes over has this long to come to rest
leave_poll_s = 0.05
evict_s = 5.0  # an object that is to go and does not for this long will not
evict_poll_s = 0.02
flow_grace_s = 1.0  # answers that flow have this long to end before their slot moves, or their code is replaced
close_retry_s = 10.0  # an activation that would not close is asked again after this
alarms_at_once_max = 64  # objects of a node whose alarm handlers run; others that are due wait
alarms_read = 64  # the earliest times of a slot that are read at once
alarms_held_max = 256  # and of how many it knows at most; the others stay on disk
alarm_again_first_ms = 1_000  # an alarm that could not ring, for no fault of its handler, is tried again after this
alarm_again_last_ms = 60_000  # and each time twice as long, up to this
alarm_tick_s = 0.05  # how often a node looks whether an alarm is due
pages_inline_bytes_max = 256 << 10
open_in_thread_pages = 256  # larger databases are read off the loop
key_bytes_max = 255
key_kept_min_ms = 10 * 60 * 1_000
key_kept_max_ms = 24 * 60 * 60 * 1_000
keys_kept_max = 1_000
keys_bytes_max = 4 << 20  # of keys and recorded answers of one object; if even the youngest do not fit: 429
sockets_per_object_max = 32_768
tags_max = 10  # of one socket
attachment_bytes_max = 16_384
socket_unsent_bytes_max = 8 << 20  # said on one socket, and not with its gateway: if more follows it is closed
socket_reattach_s = 15.0  # a socket that no gateway holds for this long is closed
socket_handled_max = 128  # numbers of handled messages that are kept of one socket before the old ones are dropped
socket_tick_s = 0.05
socket_tries_max = 3  # a message that ends its activation so often closes its socket
list_objects_max = 1_000
tails_max = 64  # that watch one node
tail_events_max = 2_000  # that wait for one of them; more are dropped, and counted
tail_bytes_max = 2 << 20  # of these, together
tail_batch_bytes = 256 << 10  # sent at a time
tail_gather_s = 0.05  # events that are told together
tail_message_bytes_max = 8 * 1024 + 64  # a line that a worker has cut, with its mark
tail_description_bytes_max = 1_024
commit_bytes_max = 16 << 20
database_bytes_max = 64 << 20


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Limits that settings may change.

    Attributes:
        idle_s: an activation without work for this long is evicted.
        activations_per_worker_max: above it the least recently used idle one is evicted.
        calls_per_window_max: calls of one object within `rate_window_s`; 0: any number.
    """

    idle_s: float = idle_s
    activations_per_worker_max: int = activations_per_worker_max
    calls_per_window_max: int = 0
