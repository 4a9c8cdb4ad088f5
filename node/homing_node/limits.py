"""Limits of the node process, unit last in every name."""

said_bytes_max = 1 << 20  # on sockets, in one message to a gateway
piece_bytes_max = 256 << 10  # a body above it travels in pieces
partial_bodies_bytes_max = 128 << 20  # bodies of one gateway that have not arrived whole
call_message_bytes_max = 64 << 20
replies_gather_s = 0.003  # answers to one gateway that travel together, while many pass and others run
disk_free_bytes_min = 128 << 20  # below it a node neither registers nor claims; a running one leaves
disk_check_s = 0.5
drain_s = 10.0  # running calls get this long to end when the node stops
"""How long a stopping node waits for its calls."""

# Moves of slots
moves_at_once_max = 16  # slots of a node that rest at the same time
changes_at_once_max = 3  # of these, how many stay here with other replicas: their objects start anew, which costs
move_round_s = 0.1  # no others begin before this is over: each costs, and so does it to look at all slots
move_lag_records_max = 1_000  # a replica that lacks more must catch up first
look_s = 0.25  # how often a node looks whether a slot belongs elsewhere
move_tick_s = 0.01  # and how often while one moves
settle_s = 3.0  # a node is left alone for so long after it came
rest_patience_s = 2.0  # a slot that does not come to rest is tried later
move_wish_s = 30.0  # a move that was asked for and does not come off for this long is given up
drain_grace_s = 30.0  # unless the node leaves: then what still runs is ended, outcome unknown
offer_patience_s = 1.5  # an offer that is not taken for this long is withdrawn
old_copy_s = 60.0  # a copy that a slot's set does not name any more is deleted after so long
old_copies_at_once = 64  # deleted every `plan_s`
plan_s = 5.0  # how often the wish is looked at
leaving_s = 10.0  # a node that drains for longer leaves for good: its copies move, too
crowded_share = 1.03  # a node with more than this times its share of slots gives some to their other replicas
catching_up_max = 16  # slots of a node whose replicas catch up: no more get another one only because it is wished
move_pause_s = 5.0  # between two tries to move a slot
load_decay_s = 300.0  # what was counted of a slot fades like this
load_known_s = 30.0  # a slot must be counted for so long before its load says something
load_unit_per_s = 1.0  # calls, records and 4 KiB of bodies; a slot that does less is idle
load_bucket_min = 4  # a slot that does less than 16 units is ordinary on any node
load_bucket_slack = 0.75  # a bucket stays as long as the load is no farther from it
load_slots_max = 64  # hot slots that a node tells of
load_publish_s = 60.0  # and how often at most
load_lost_s = 180.0  # a hot slot that has gone elsewhere is told for so long
load_settle_s = 7.0  # above `plan_s`: within it all nodes have planned the same exchanges
load_patience_s = 30.0  # what is left of such a plan after so long is given up
drain_s_max = 60.0  # a stopping node tries to give its slots away for this long

# Comparing replicas
compare_every_s = 60.0  # a node has its slots compared one after the other, one each time
verify_s = 20.0  # a comparison that was asked for and is not done for this long is given up

# Versions of the application
version_retry_first_s = 1.0  # a version that could not be loaded is tried again after this, and then later each time
version_retry_s_max = 60.0
deploy_seen_s = 30.0  # every node that can be reached runs what was deployed within this
deploy_poll_s = 0.2
cron_start_s = 10.0  # for the call that starts a cron trigger
cron_retry_s = 1.0

# Requests of object code to the outside
outbound_s_max = 120.0
outbound_redirects_max = 20  # as the Fetch standard has it
outbound_connections_max = 200
outbound_connections_kept_max = 50
outbound_kept_s = 30.0
outbound_flowing_max = 100  # answers that flow; they may last, and others need connections, too

# WebSockets of object code to the outside
outbound_sockets_max = 1_000  # of a node
outbound_sockets_per_object_max = 100  # or of the entrypoint in one worker
outbound_message_bytes_max = 32 << 20
outbound_unhandled_max = 64  # messages that came on one and were not handled; then it is not read
outbound_unhandled_bytes_max = 1 << 20
outbound_accept_s = 30.0  # one that is not accepted for this long is closed
outbound_close_s = 10.0  # a server that does not take what is before a close, or answer it, for this long is left
outbound_ping_s = 20.0
outbound_pong_s = 60.0  # a server that answers no ping for this long is gone

# Tests of applications
test_call_ms = 60_000  # a function of a test that runs in an object, or an alarm that it rings

# Backups
backups_at_once_max = 4  # slots that a node reads, and as many that it restores, at the same time; others wait
backup_patience_s = 10.0  # a reader that takes no part for this long loses its place: pages stand still for it
backup_begin_s = 30.0  # pages must be brought up to date, and the epoch be confirmed, within this time
backup_part_bytes = 256 << 10  # of an object's data or pages in one message
restore_patience_s = 30.0  # for the next part, for a new epoch, or for an activation to end
restore_record_bytes = 1 << 20  # of pages in one record
restore_data_bytes_max = 32 << 20  # of what is kept of an object beside its pages, mostly recorded answers
databases_at_once_max = 2  # that a node has in memory as a whole, to query them or bring them in; others wait
restore_epoch_max = 1 << 48  # a backup with a greater one is not ours
"""Epochs only grow, so one that is far too great could never be taken back."""

# Grants of requests to the outside
grant_url_chars_max = 8_192
grant_entries_max = 100  # hosts, methods, paths, ports or credentials of one grant
grant_secret_chars_min = 12  # a shorter one would be found in answers by chance
grant_secret_chars_max = 2_048
grant_traces_kept_max = 128  # sets of secrets for which is kept how they would look in an answer
grant_head_bytes_max = 32 << 10  # header fields of a request
grant_fields_max = 100
grant_answer_head_bytes_max = 64 << 10
grant_calls_at_once_max = 200  # of all grants of a node, and as many requests to the outside
grant_calls_share_max = 50  # of these, of one tenant: no one has all of them
grant_calls_waiting_max = 100  # of one tenant, before its share
grant_connect_s = 10.0
grant_kept_s = 15.0  # an idle connection of a grant
grant_lookups_max = 16  # at the same time, on threads of their own: others look up hosts, too
grant_lookups_each_max = 2  # of one grant: a name server that does not answer holds a thread
grant_connections_kept_max = 2  # of one grant, idle
grant_audit_path_chars_max = 512
grant_props_bytes_max = 64 << 10
grant_audit_records_max = 2_000  # that a node keeps; the oldest go
grants_per_run_max = 32
grants_open_max = 5_000  # of a node
grant_ask_bytes_max = 8 << 20  # of one call under a grant, to the broker
grant_answer_bytes_max = 8 << 20  # and back
