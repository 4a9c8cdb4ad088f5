"""Which versions of its application a cluster knows, and which objects each serves. Pure; etcd holds it as JSON.

A version that is new may serve a share of the objects first: those whose id hashes below it, so that an object keeps
its version while the share grows. The version without an id is the application that nodes were started with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

import msgspec

from homing.errors import BadRequest, NotFound

STARTED_WITH = ""
VERSIONS_KEPT_MAX = 10
_PERCENT = 100

_Serving = TypeVar("_Serving")


class Version(msgspec.Struct, frozen=True):
    """One version of the application that was brought here.

    Attributes:
        id: the beginning of the SHA-256 of its package.
        digest: that whole, in hexadecimal digits.
        pieces: in how many entries etcd holds the package.
        size_bytes: of the package.
        made_ms: when it came, in milliseconds since 1970.
        message: what was said of it.
    """

    id: str
    digest: str
    pieces: int
    size_bytes: int
    made_ms: int
    message: str = ""


class Share(msgspec.Struct, frozen=True):
    """A version that serves, and for how many of a hundred objects."""

    version: str
    percent: int


class Deployment(msgspec.Struct, frozen=True):
    """What is deployed.

    Attributes:
        versions: those that are known, the oldest first.
        serving: the newer one first, where there are two.
        before: the version that served all before that.
        changed_ms: when it last changed, in milliseconds since 1970.
    """

    versions: tuple[Version, ...] = ()
    serving: tuple[Share, ...] = (Share(STARTED_WITH, _PERCENT),)
    before: str = STARTED_WITH
    changed_ms: int = 0

    def version(self, version_id: str) -> Version:
        """A version by its id, or the beginning of one.

        Raises:
            NotFound: there is none, or there are several.
        """
        found = [version for version in self.versions if version_id and version.id.startswith(version_id)]
        if len(found) != 1:
            raise NotFound(f"there is no version {version_id[:100]}" if not found else f"{version_id} names several")
        return found[0]

    def adding(self, version: Version) -> tuple[Deployment, tuple[Version, ...]]:
        """With a version more; also those that are forgotten for it: the oldest, unless they serve or did before."""
        needed = {share.version for share in self.serving} | {self.before, version.id}
        others = [known for known in self.versions if known.id != version.id]
        spare = [known for known in others if known.id not in needed]
        gone = spare[: max(0, len(others) + 1 - VERSIONS_KEPT_MAX)]
        kept = tuple(known for known in others if known not in gone)
        return msgspec.structs.replace(self, versions=(*kept, version)), tuple(gone)

    def letting_serve(self, version_id: str, percent: int, now_ms: int) -> Deployment:
        """With a version that serves so many of a hundred objects; what served all before keeps the others.

        Raises:
            NotFound: there is no such version.
            BadRequest: not a share of a hundred.
        """
        if not 1 <= percent <= _PERCENT:
            raise BadRequest(f"a share is from 1 to {_PERCENT} percent, not {percent}")
        if version_id != STARTED_WITH:
            version_id = self.version(version_id).id
        main = self.serving[-1].version
        others = [share.version for share in self.serving if share.version != version_id]
        before = main if version_id != main else self.before
        rest = others[-1] if others else before
        serving = (Share(version_id, percent), Share(rest, _PERCENT - percent))
        if percent == _PERCENT or rest == version_id:
            serving = (Share(version_id, _PERCENT),)
        return msgspec.structs.replace(self, serving=serving, before=before, changed_ms=now_ms)

    def rolled_back(self, now_ms: int) -> Deployment:
        """As before the last version came."""
        back = self.serving[-1].version if len(self.serving) > 1 else self.before
        return self.letting_serve(back, _PERCENT, now_ms)


def chosen(serving: Sequence[tuple[int, _Serving]], key: bytes) -> _Serving:
    """Who serves an object.

    Args:
        serving: for how many of a hundred objects, and who.
        key: the object's id.
    """
    place = crc32(key) % (_PERCENT * _PERCENT) / _PERCENT
    for percent, one in serving:
        if place < percent:
            return one
        place -= percent
    return serving[-1][1]
