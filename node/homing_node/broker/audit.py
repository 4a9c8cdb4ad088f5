"""What is kept of each request under a grant."""

from __future__ import annotations

from dataclasses import dataclass

OK, REFUSED, FAILED, CUT, LEFT = "ok", "refused", "failed", "cut", "left"


@dataclass(slots=True, kw_only=True)
class AuditRecord:
    """One request, granted or not. It has no secret, no header, no query and no body in it.

    Attributes:
        at_ms: when it was asked for, in milliseconds of Unix time.
        holder: who asked.
        grant_id: under which of the node's open grants.
        grant: the grant's own name.
        method: as it was asked for, cut; empty if it cannot be printed.
        host, port: where to, as the broker read it; empty and 0 if it could not.
        path: of the URL, cut.
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
