"""The numbers of placement: how long, how often, how many. The unit is the last word of each name."""

from __future__ import annotations

# etcd: one call
ETCD_CALL_TIMEOUT_S = 2.0  # for one attempt on one endpoint
ETCD_CONNECT_TIMEOUT_S = 1.0  # for one endpoint, before the next is tried
ETCD_MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # an answer; 65,536 slot records are below it
ETCD_TXN_OPERATIONS_MAX = 128  # the server's own default
ETCD_RETRY_FIRST_S = 0.05  # pause after a failure; doubled each time
ETCD_RETRY_LAST_S = 1.0

# etcd: a watch
WATCH_PROGRESS_INTERVAL_S = 2.0  # how often a sign of life is asked for
WATCH_SILENCE_MAX_S = 6.0  # no message for so long: the stream is dead
WATCH_AUDIT_INTERVAL_S = 30.0  # how often the whole prefix is listed again
WATCH_AUDIT_FIRST_S = 1.0  # after a stream began
WATCH_AUDIT_GRACE_S = 1.0  # how long the stream may be behind the list

# Membership
LEASE_TTL_S = 6
LEASE_RENEWALS_PER_TTL = 3

# Slots
SLOT_WRITES_PER_TXN_MAX = 64
WRITES_IN_FLIGHT_MAX = 4  # transactions at once
READS_PER_TXN_MAX = 64
ACTIVATION_GATHER_S = 0.003  # slots that become ready within this time share a transaction

# Load: owners are exchanged for it
LOAD_HIGH_RATIO = 1.25  # a node with more than this times the mean gives hot slots away
LOAD_LOW_RATIO = 1.10  # until it has no more than this
LOAD_SWAPS_MAX = 16  # in one plan
LOAD_ABOVE_USUAL_MIN = 2  # a slot is hot from four times the ordinary on, a power of two
LOAD_GAIN_MIN = 0.01  # of the mean; an exchange that brings less is not worth it, and may be noise
LOAD_BUCKET_MAX = 16  # a slot never weighs more than 65,536 others

# Probes
PROBE_TIMEOUT_S = 0.5
PROBE_FAILURES_MIN = 2  # in a row: the node does not answer
PROBE_RETRY_S = 0.1  # between two failures
PROBE_INTERVAL_S = 1.0  # of a node that answers
PROBES_PER_SECOND_MAX = 10  # all nodes together; the interval grows to keep it
REACH_FRESH_INTERVALS = 3  # an answer older than this many intervals says nothing about reach

# Claims
TICK_S = 0.1
RECOVERY_PATIENCE_S = (
    2.0  # a living claimant keeps a RECOVERING slot for this long; doubled for each claim without ACTIVE
)
RECOVERY_PATIENCE_MAX_S = 30.0
RANK_PATIENCE_S = 2.0  # a reachable member that comes first and does nothing blocks the next for this long
JITTER_S = 1.0  # spread of those that try later than the first
UNKNOWN_OWNER_GRACE_S = 3.0  # an owner that was never seen registered counts as gone after this
BOOT_GRACE_S = 3.0  # a node that just started leaves this time to members that come before it and are not up yet
RECLAIM_PAUSE_FIRST_S = 0.5  # between two claims of one slot by one node; doubled each time
RECLAIM_PAUSE_LAST_S = 8.0
LACKING_PAUSE_S = 60.0  # a node whose log lacks too much to own a slot leaves it to others for so long, or till ACTIVE
FIRST_BOOT_PATIENCE_S = 3.0  # before another node than the first creates the records
SHORT_BOOT_PATIENCE_S = 10.0  # before the rest of them is made for fewer nodes than the first were: one has died

# Deployments
PACKAGE_BYTES_MAX = 32 << 20  # packed; etcd keeps ten of them
PACKAGE_PIECE_BYTES = 1 << 20  # in one entry: etcd takes requests of 1.5 MiB
DEPLOY_TRIES_MAX = 8
