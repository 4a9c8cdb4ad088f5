"""Limits of the log, unit last in every name."""

append_bytes_max = 1 << 20  # records of one slot in one Append; a longer backlog travels in several
append_ahead_bytes_max = 8 << 20  # sent to one replica of one slot and not yet answered
record_bytes_max = 44 << 20  # all that one message of a worker can hold (40 MiB), with keys and names
resend_s = 0.5  # no progress from a replica for this long: what it has not confirmed is sent again
confirm_patience_s = 0.05  # a question of rule 19 unanswered for this long is put to every replica
fetch_s = 2.0  # a chosen log that does not arrive for this long: seal again, choose again
majority_s = 4.0  # no majority for this long: the slot stops (rule 9)
snapshot_part_bytes = 256 << 10  # of pages in one message; the next leaves when it is on disk there
snapshots_at_once_max = 4  # that a node sends
snapshot_resend_s = 2.0  # a part unanswered for this long is sent again
snapshot_patience_s = 10.0  # and after this long the snapshot is given up; a later try begins anew
snapshot_pause_s = 10.0  # for the records that gathered meanwhile to go to the pages
compare_patience_s = 10.0  # a replica that does not say for this long what its pages hold is passed over
compare_pause_s = 0.002  # between two parts that are read to compare: reading must not take a core
trim_keep_bytes = 128 << 10  # of a slot's records below its pages: who lacks only these needs no snapshot
catching_up_records = 1_000  # a replica that lacks more is catching up
trim_wait_records_max = 10_000  # a replica that is there and lacks no more than these holds their trimming up
commit_notice_s = 2.0  # an idle replica learns the commit point within about this time
"""How long a replica may be ignorant of the last commit; pages on it lag by as much."""
link_message_bytes_max = 64 << 20
piece_bytes_max = 256 << 10  # records of one message; a longer one travels in pieces
long_messages_max = 1_024  # of one peer at once: one for each slot
link_waiting_bytes_max = 64 << 20  # queued for a peer that does not read; more closes its link
link_gather_s = 0.001  # frames to a peer wait so long for others while many pass; see homing.pace
batch_gather_s = 0.001  # and writes to the disk
batch_slots_enough = 32  # writes of so many slots wait no longer
short_batch_ops_max = 256  # a batch of more is made in a thread, for the event loop would stand still
redial_s = 0.2
probe_s = 0.4  # below placement's own patience: on time to say that the link brought something
tick_s = 0.05
still_poll_s = 0.005  # whether pages have been brought up to date for who waits for them
owner_tick_s = 0.2  # a node has hundreds of ownerships; what they wait for is counted in half seconds
apply_after_records = 64  # a slot with so many committed records that pages lack is applied
apply_after_bytes = 256 << 10  # and one with so many bytes of records in memory
apply_after_s = 10.0  # and every slot, this long to twice as long after a record: not all at once
apply_slice_records = 64  # applied in one turn of the loop
