"""What a node and a sandbox say to each other, in the frames of `homing_node.workers.inside.framing`.

Whatever comes from a sandbox was written by its tenant: the node bounds it, and believes nothing of it.
"""

from __future__ import annotations

CHANNEL_FD = 3

# Node to sandbox: code, arguments (`homing.values.to_stored`), stdin, bytes that the result may have, language
# (`homing.sandboxes.LANGUAGES`), bytes of memory that the code may take
RUN = 1

# Sandbox to node
OUTPUT = 1  # stream (1 stdout, 2 stderr), bytes
RESULT = 2  # bytes of the value (`homing.values.to_stored`)
FAILURE = 3  # cause, type, message, traceback

STDOUT = 1
STDERR = 2

# The cause of a FAILURE
RAISED = "raised"
SYNTAX = "syntax"
MEMORY = "memory"
NO_VALUE = "no-value"
RESULT_BYTES = "result"
CAUSES = frozenset((RAISED, SYNTAX, MEMORY, NO_VALUE, RESULT_BYTES))
