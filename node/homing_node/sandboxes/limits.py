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
