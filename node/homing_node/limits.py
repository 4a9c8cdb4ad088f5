"""Limits of the node process, unit last in every name."""

piece_bytes_max = 256 << 10  # a body above it travels in pieces
partial_bodies_bytes_max = 128 << 20  # bodies of one gateway that have not arrived whole
call_message_bytes_max = 64 << 20
disk_free_bytes_min = 128 << 20  # below it a node neither registers nor claims; a running one leaves
disk_check_s = 0.5
drain_s = 10.0  # running calls get this long to end when the node stops
"""How long a stopping node waits for its calls."""
