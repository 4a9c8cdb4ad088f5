"""The numbers of routing; the unit is the last word of each name, before MIN and MAX."""

# Bodies
RESPONSE_BYTES_MAX = 41_943_040
PIECE_BYTES_MAX = 262_144
BATCH_BYTES_MAX = 1_048_576
MESSAGE_BYTES_MAX = 16_777_216

# Queues
IN_FLIGHT_MAX = 16_384
PENDING_PER_NODE_MAX = 8_192
LISTS_AT_ONCE_MAX = 4  # that the objects of a node ask for: each goes to every node

# Waiting for an owner, and trying again
OWNER_WAIT_S_MAX = 6.0
RETRY_S_MIN = 0.02
RETRY_S_MAX = 0.5
TICK_S = 0.025
RETRY_AFTER_S_DEFAULT = 1.0

# Streams to nodes
CALLS_GATHER_S = 0.008
"""While many pass, calls wait so long for others, unless the node has answered its newest batch."""
RECEIPT_S_MAX = 0.05
"""So long at most the receipt of what was said on a socket waits for something to travel with."""
RECEIPT_BYTES_MAX = 262_144
"""So much that was said never waits: a node closes the socket that has 8 MiB unread."""
CONNECT_S_MAX = 2.0
RECONNECT_S_MIN = 0.05
RECONNECT_S_MAX = 1.0
KEEPALIVE_MS = 1_200
KEEPALIVE_TIMEOUT_MS = 2_000
INSPECT_S_MAX = 2.0
CLASSES_REFRESH_S = 5.0
CLASSES_REFRESH_S_MIN = 0.25
