"""Limits of a node's sandboxes, unit last in every name."""

from __future__ import annotations

# --- one run ---
code_bytes_max = 4 * 1024 * 1024
arguments_bytes_max = 4 * 1024 * 1024
stdin_bytes_max = 4 * 1024 * 1024
tenant_chars_max = 200
frames_max = 2_000  # of a sandbox, beside one for every KiB of its output
frame_overhead_bytes = 64 * 1024  # of all of these
grant_bytes_max = 256 * 1024 * 1024  # of all asks of a run that has grants
grant_frames_max = 20_000
answers_queued_bytes_max = 16 * 1024 * 1024  # that a run has asked for and does not read
refusal_chars_max = 4_000

# --- one sandbox ---
cpu_look_s_min = 0.01
kill_wait_s = 5.0  # a zygote that does not say that a killed sandbox is dead for this long is killed, too

# --- one zygote ---
zygote_start_s = 20.0
zygote_orders_max = 64  # that it has not answered
order_wait_s = 5.0  # for it to take another one
order_look_s = 0.002
zygote_forks_max = 2_000  # then another takes its place: what its sandboxes share is not for ever
zygote_age_s_max = 600.0
zygote_retire_s = 130.0  # above the longest deadline
zygote_address_space_bytes = 4 * 1024 * 1024 * 1024
zygote_files = 64
zygote_processes = 32_768
zygote_memory_share = 0.5  # of the machine's, for it and its sandboxes together, where there are cgroups
zygote_stack_bytes = 8 * 1024 * 1024
zygote_niceness = 5
zygote_cpu_share = 0.9  # of all cores, for a tenant, where there are cgroups
zygote_restart_s_min = 0.2

# --- a sandbox in a jail of its own ---
strict_max = 64  # at one time
strict_starting_max = 4  # at one time: each is a start of Python
strict_memory_bytes = 256 * 1024 * 1024  # beside what its code may take, where there are cgroups
strict_processes = 32

# --- the node ---
spares = 4  # sandboxes that wait for a run, of each tenant that runs any
spare_delay_s = 0.002  # the run that took one is not disturbed by the next one's fork
spare_waits_s = 0.02  # at most, for the end of a run that has no spare
tenants_max = 16  # that have zygotes at one time
tenant_idle_s = 120.0
look_s = 1.0

# --- what is told of a run while it goes on ---
uses_unheard_max = 1_000  # of a run; the oldest go
news_bytes_max = 256 * 1024  # that one answer has, and the piece more that it ends with
use_bytes = 256  # that a use counts for

# --- quotas ---
running_per_tenant_max = 100
starts_per_s_max = 1_000
waiting_per_tenant_max = 200
wait_s_max = 10.0
running_max = 2_000  # of the node

# --- dynamic workers ---
loaded_per_object_max = 10  # that live at one time; so many may have calls in flight
loaded_per_request_max = 4  # of an entrypoint: that have calls in flight
loaded_per_entrypoint_max = 64  # that live at one time, of each process that runs an entrypoint
loaded_idle_s = 30.0  # without a call; then it is ended
loaded_once_idle_s = 5.0  # one that was loaded without an id: whoever did that has seldom more to ask
loaded_calls_max = 32  # of one, at one time
loaded_call_s_max = 120.0
loaded_cancel_s = 1.0  # to stop a call that nobody waits for
loaded_load_s_max = 30.0  # between two parts of its code
loaded_result_bytes_max = 8 * 1024 * 1024
loaded_message_bytes_max = loaded_result_bytes_max + frame_overhead_bytes
loaded_frames_max = 4_000  # of each call
loaded_headers_max = 256
loaded_unsent_bytes_max = 24 * 1024 * 1024
loaded_cpu_s = 60  # of its whole life
loaded_worn_cpu_s = 28.0  # above it it takes no new call: one more may use 30 s
loaded_idle_cpu_s = 1.0  # before its first call
code_message_bytes = 192 * 1024  # below what travels in pieces: a call must not overtake the code
log_bytes_max = 64 * 1024  # of a call, for tails
log_lines_max = 256

# --- facets in dynamic workers ---
facets_per_worker_max = 100
facet_piece_bytes = 192 * 1024  # of a commit: below what travels in pieces, so that no answer overtakes it
facet_unkept_bytes_max = 34 * 1024 * 1024  # of what one wrote that is not durable yet: two commits of the longest
facet_frames_max = 4_000
