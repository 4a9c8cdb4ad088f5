"""Every limit of the gateway, its unit last in the name."""

# Bodies
RPC_BYTES_MAX = 1_048_576
FETCH_BYTES_MAX = 33_554_432  # of a body that does not flow: under an idempotency key
WHOLE_BYTES_MAX = 65_536  # a body that is longer flows; `homing.flow` bounds how much of it is under way
FLOWING_MAX = 16_384  # answers whose bodies flow at once
ANSWER_STALLED_S = 300.0  # a client that takes nothing of such a body for so long is gone

# Requests
REQUEST_ID_CHARS_MAX = 128
KEY_CHARS_MAX = 256
LOOPBACK_HOSTS_MAX = 16
SLOT_DIGITS_MAX = 6
LENGTH_DIGITS_MAX = 18
TIMEOUT_MS_DEFAULT = 30_000
TIMEOUT_MS_MAX = 600_000
BODY_WAIT_S_MAX = 30.0
LIST_OBJECTS_DEFAULT = 100

# Backups
SLOT_TRIES_MAX = 6
RESTORE_ID_BYTES_MAX = 16
STREAM_STALLED_S = 30.0
"""A client that takes nothing of what a backup reads for so long is gone."""

# Databases as files
DATABASE_BYTES_MAX = 64 * 1_048_576  # nodes have the same bound
DATABASE_PAGE_BYTES = 1_024
IMPORT_PIECE_BYTES = 262_144
QUERY_BYTES_MAX = 100_000
QUERY_S_MAX = 75.0  # above what a node and its worker give it
EVICT_S_MAX = 15.0  # as for that
DELETE_S_MAX = 40.0  # above a node's patience with what still runs in the object

# Sockets
SOCKETS_MAX = 100_000
SOCKET_MESSAGE_BYTES_MAX = 32 * 1_048_576
SOCKET_PIECE_BYTES = 262_144
SOCKET_UNHANDLED_MAX = 64  # messages that came on one and were not handled; then it is not read
SOCKET_UNHANDLED_BYTES_MAX = 1_048_576
SOCKET_UNREAD_BYTES_MAX = 8 * 1_048_576  # said on one and not taken by its client; then it is closed
SOCKET_CLOSE_S_MAX = 10.0
SOCKET_LOOK_S = 0.05
SOCKET_RETRY_S_MIN = 0.01
SOCKET_RETRY_S_MAX = 0.5
SOCKET_UNATTACHED_S_MAX = 60.0
SOCKET_HOME_LOST_S_MAX = 5.0  # of one that no other node can take over
SOCKETS_SETTLE_S_MAX = 2.0  # at the gateway's end, for objects to hear of it

# Questions to nodes
VERIFY_S_MAX = 22.0  # a little above the node's own patience
TEST_S_MAX = 65.0  # as for that

# Live logs
TAILS_MAX = 16  # followed at the same time
TAIL_BATCHES_MAX = 8  # of events, that wait for one client; then nodes wait, and drop what they cannot keep
TAIL_LOOK_S = 0.25  # how often a tail looks for nodes that came, and whether this gateway stops
TAIL_BEAT_S = 2.0  # a tail with nothing to tell sends an empty line, so that both sides notice when the other is gone
TAIL_AGAIN_S = 1.0  # a node whose stream ended is asked again after this

# Runs in sandboxes
RUN_S_MAX = 140.0  # above what a run may take, and wait before it
RUN_BYTES_MAX = 16 * 1_048_576
RUN_DIGITS_MAX = 15

# Deployments
PREPARE_S_MAX = 300.0  # a node has this long to load a version: its packages may have to be installed
DEPLOY_MESSAGE_CHARS_MAX = 200

# Process
DRAIN_S_MAX = 30.0
LAME_DUCK_S = 0.3
SPANS_FLUSH_S_MAX = 3.0
KEEP_ALIVE_S = 65
HEAD_BYTES_MAX = 65_536
HEAD_WAIT_S_MAX = 15.0
BACKLOG_MAX = 2_048
ROUTES_CACHED_MAX = 8_192
ROUTE_CACHED_BYTES_MAX = 256

AUDIT_RECORDS_DEFAULT = 100
AUDIT_RECORDS_MAX = 10_000
"""Records of the audit of grants in one answer."""
