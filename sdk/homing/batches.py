"""Batches of frames, as gateways, nodes and peers exchange them: messages of repeated fields, most of them empty."""

from __future__ import annotations

from google.protobuf.message import Message


def holds_beyond(batch: Message, number: int) -> bool:
    """Whether a batch holds anything in a field above a number. To look into each costs as much as a frame does.

    Args:
        batch: any message.
        number: of one of its fields.

    Example:
        >>> from homing.wire.v1 import call_pb2 as wire
        >>> batch = wire.ReplyBatch(replies=[wire.Reply(id=1)])
        >>> holds_beyond(batch, wire.ReplyBatch.REPLIES_FIELD_NUMBER)
        False
        >>> batch.pieces.add(id=2, data=b"...", last=True).id
        2
        >>> holds_beyond(batch, wire.ReplyBatch.REPLIES_FIELD_NUMBER)
        True
    """
    held = batch.ListFields()  # in the order of their numbers
    return bool(held) and held[-1][0].number > number
