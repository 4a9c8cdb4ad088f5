"""What is kept of each call under a grant."""

from __future__ import annotations

from dataclasses import dataclass

OK, REFUSED, FAILED, CUT, LEFT = "ok", "refused", "failed", "cut", "left"
OUTCOMES = (OK, REFUSED, FAILED, CUT, LEFT)

HTTP = "http"


@dataclass(slots=True, kw_only=True)
class AuditRecord:
    """One call, granted or not. It has no secret, no header, no query, no argument and no body in it.

    Attributes:
        at_ms: when it was asked for, in milliseconds of Unix time.
        holder: who asked.
        grant_id: under which of the node's open grants.
        grant: the grant's own name.
        kind: what it grants: `http`, or what `homing_node.broker.object_grant` has.
        method: as it was asked for, cut; empty if it cannot be printed. Under a grant to an object, the operation.
        host, port: where to, as the broker read it; empty and 0 if it could not.
        path: of the URL, cut. Under a grant to an object, its class and its name, or its id.
        outcome: `ok`: the answer has passed, whole. `refused`: nothing was sent. `failed`: the other side cannot be
        reached, or
            does not answer as it should. `cut`: it was ended on the way. `left`: whoever asked wanted no more of it.
        rule: which rule refused, failed or cut it; else empty.
        detail: of that rule, for whoever reads audits, and never for whoever asked.
        status: of the answer, or 0.
        sent_bytes, received_bytes: heads and bodies, as they travelled.
        took_ms: until it was over.
    """

    at_ms: int
    holder: str
    grant_id: str
    grant: str
    kind: str
    method: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    outcome: str = REFUSED
    rule: str = ""
    detail: str = ""
    status: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    took_ms: float = 0.0
