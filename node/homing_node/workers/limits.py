"""Every limit of the worker side of a node: jails, their cache, and the supervision of the processes in them."""

from __future__ import annotations

# --- the application ---
app_bytes_max = 64 * 1024 * 1024
app_files_max = 5_000
app_depth_max = 64
app_config_bytes_max = 1024 * 1024
app_crons_max = 100
app_hosts_max = 1_000
app_secrets_max = 100  # names
app_grants_max = 100

# --- the packages of the application ---
requirements_max = 500
packages_bytes_max = 512 * 1024 * 1024
packages_files_max = 50_000
install_s_max = 240.0  # below `cache_lock_timeout_s`, for which the other nodes wait
installer_lines_max = 12

# --- its static assets ---
asset_bytes_max = 16 * 1024 * 1024  # one file: as much as an answer holds, `answer_bytes_max` of the runtime inside
asset_rules_bytes_max = 4 * 1024 * 1024  # `_headers`, `_redirects` and `.assetsignore`, each
asset_ignore_lines_max = 1_000
asset_rules_max = 100  # of `run_worker_first`
asset_rule_chars_max = 100

# --- the cache of runtime trees and application snapshots ---
cached_runtimes_max = 3
cached_apps_max = 20
cached_packages_max = 10
cache_lock_timeout_s = 300.0

# --- one jail ---
worker_address_space_bytes_max = 2 * 1024 * 1024 * 1024
worker_memory_bytes_max = 2 * 1024 * 1024 * 1024
worker_files_max = 64
worker_processes_max = 32
worker_stack_bytes_max = 8 * 1024 * 1024
worker_niceness = 0
jail_start_timeout_s = 15.0
nsjail_words_bytes_max = 16 * 1024

# --- uids that workers get when the node is root: unused by distributions, users, and container tools ---
worker_uid_first = 2_000_000_000
worker_uids_max = 4_096

# --- ids that zygotes get for their sandboxes, in blocks ---
zygote_uid_first = 2_000_131_072
zygote_uids = 2_048
zygotes_on_host_max = 256

# --- one worker process ---
hello_timeout_s = 30.0
ping_interval_s = 0.25
silence_s_max = 5.0
turn_cpu_s_max = 30.0
turn_wall_s_max = 120.0  # a loop that answers nothing for so long is stuck, even if its process beats and uses no CPU
channel_end_s = 0.25  # a worker whose channel ended gets this long to die by itself, so that its death is the reason
ready_classes_max = 1_000
own_pause_s_max = 1.0
terminate_grace_s = 1.0

# --- what it writes to its stdout and stderr behind the runtime's back ---
output_line_bytes_max = 8 * 1024
output_lines_per_s_max = 100
output_bytes_per_s_max = 4 * 1024 * 1024
output_read_bytes_max = 64 * 1024

# --- the pool ---
workers_max = 64
restart_backoff_first_s = 0.1
restart_backoff_s_max = 10.0
restart_settled_s = 30.0
retire_grace_s = 30.0

# --- questions to databases ---
look_answer_s_max = 30.0  # more than a worker gives the question itself
look_refusal_chars_max = 1_000
