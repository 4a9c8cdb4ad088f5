"""Every bound and pace of the command line, in one place; the unit comes last in each name."""

from __future__ import annotations

RESTART_DELAY_S = 1.0
"""A part that died is started again after this long."""

CRASH_LOOP_LIFE_S = 5.0
"""A part that dies sooner than this after its start counts as crashing."""

CRASH_LOOP_DEATHS_MAX = 5
"""So many crashes in a row are a crash loop: it is said, and the pace slows down."""

CRASH_LOOP_DELAY_S = 5.0
"""The pace of a crash loop."""

STARTUP_DEATHS_MAX = 3
"""So many crashes of one part before the cluster was ever ready end `homing dev`."""

GATEWAY_STOP_S = 2.0
"""A gateway gets this long to drain after SIGTERM, then SIGKILL."""

NODE_STOP_S = 2.0
"""A node gets this long to end its turns after SIGTERM, then SIGKILL."""

ETCD_STOP_S = 1.0
"""etcd gets this long after SIGTERM, then SIGKILL; its state is safe either way."""

READY_POLL_S = 0.1
"""How often the gateway is asked whether the cluster is ready."""

READY_PATIENCE_S = 60.0
"""After this long without readiness `homing dev` says so; it goes on waiting."""

ETCD_START_S = 20.0
"""etcd must answer within this long, or `homing dev` gives up."""

RELOAD_DEBOUNCE_MS = 300
"""Changes of files closer together than this are one reload."""

LOG_LINE_BYTES_MAX = 65_536
"""A longer line of a part's output is cut."""

TAIL_LINES_MAX = 20
"""How many of its last lines are shown of a part that died."""

NODES_MAX = 64
"""More processes than this on one machine are surely a mistake."""

HTTP_TIMEOUT_S = 10.0
"""How long `status` and `objects` wait for an answer."""

PORT_FIRST = 20_000
"""Free ports are looked for from here up to the first port that the kernel hands to outgoing connections."""

DRAIN_POLL_S = 0.25
"""How often `homing drain` looks how far it is."""
DRAIN_STALLED_S = 45.0
"""It gives up when no slot has moved for so long: what runs on the node has 30 s to end (`drain_grace_s`)."""
MOVE_TIMEOUT_S = 35.0
"""How long `homing move` waits; a node gives the move up a little before that."""
VERIFY_TIMEOUT_S = 25.0
"""How long `homing verify` waits for one slot."""

SLOTS_AT_ONCE = 8
"""So many slots are read from or written to a backup at the same time; each holds some megabytes."""

SLOT_PATIENCE_S = 60.0
"""A slot that cannot be read or restored for so long ends the command."""

SLOT_PAUSE_S = 0.5
"""Between two tries."""

STREAM_TIMEOUT_S = 600.0
"""A slot waits at its node until others are through."""

PROGRESS_S = 2.0
"""How often a backup says how far it is."""

MANIFEST_BYTES_MAX = 67_108_864
"""65,536 slots need a quarter of it."""

ARCHIVE_BUFFER_BYTES = 8_388_608
"""Written to the store at a time; S3 takes at most 10,000 such parts for one slot."""

ARCHIVE_PARTS_AT_ONCE = 2
"""Of one file, on their way to the store."""

DATABASE_BYTES_MAX = 67_108_864
"""Of one object; nodes have the same bound."""
DATABASE_PAGE_BYTES = 1_024
"""Of an object's database."""
FILE_PIECE_BYTES = 262_144
"""Of a file, sent at a time."""
DELETE_TIMEOUT_S = 45.0
"""How long `homing objects delete` waits; a node gives what runs in the object a little less to end."""

EVICT_TIMEOUT_S = 20.0
"""How long `homing objects evict` waits; a node gives the object less."""

TAIL_SILENCE_S = 15.0
"""A gateway that sends nothing to `homing tail` for so long, not even an empty line, is gone."""
TAIL_AGAIN_S = 1.0
"""Between two tries to follow a gateway again."""
TAIL_LINE_BYTES_MAX = 131_072
"""Of one event as JSON; a message is shorter, but may have to be written with escapes."""

RUN_LINE_BYTES_MAX = 128 << 20
"""Of what one may return, as JSON: a byte can become six."""
RUN_TIMEOUT_S = 150.0
"""A run in a sandbox is waited for this long: above what one may take."""

TOP_EVERY_S = 1.0
"""Between two looks of `homing sandbox top`."""
