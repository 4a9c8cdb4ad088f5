"""`homing backup DEST`: write every slot, or one object, to a folder or a bucket while the cluster serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from time import sleep

import click
import msgspec

from homing.cli.archive import FORMAT, Archive, Manifest, Part, Parts, SlotFile
from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import SLOT_PATIENCE_S, SLOT_PAUSE_S
from homing.cli.move import object_of
from homing.cli.slots_at_once import Stop, all_slots, objects_text, patiently, size_text
from homing.cli.status import Cluster, read_cluster
from homing.errors import BadRequest, Unavailable, from_wire
from homing.ids import ObjectId


@click.command()
@click.argument("dest")
@click.option("--object", "one", metavar="CLASS/NAME", help="Back up this object only; `CLASS/id:…` names it by id.")
@gateway_options
def backup(dest: str, one: str | None, url: str, token: str, as_json: bool) -> None:
    """Back up the whole cluster to DEST, a folder or an URL such as s3://bucket/prefix, while it serves.

    Every value that was acknowledged before the backup began is in it. Each slot is of one moment, but not all slots of
    the same one. For S3, credentials and endpoint come from the usual AWS_… variables.
    """
    with GatewayApi(url, token) as api:
        cluster = _whole(api)
        slots = cluster.hashed_slots
        wanted = object_of(one, cluster.names) if one else None
        archive = Archive(dest, create=True)
        if archive.manifest() is not None:
            raise BadRequest(f"{dest} already holds a backup; name another place, or remove that one")
        started_at = _now()
        # A jurisdiction's slots have no records, and nothing in them, before the first node of its zones came.
        numbers = [wanted.slot(slots)] if wanted is not None else [each.slot for each in cluster.slots]
        heads: dict[int, str] = {}
        files = all_slots(numbers, lambda slot, stop: _back_up(api, archive, slot, wanted, heads, stop), _sum)
        clusters = sorted(set(heads.values()))
        if len(clusters) != 1:
            raise Unavailable(f"nodes of several clusters answered: {', '.join(clusters)}")
        manifest = Manifest(
            FORMAT, version("homing"), clusters[0], slots, started_at, _now(), str(wanted) if wanted else "",
            sorted(files, key=lambda file: file.slot), cluster.names,
        )  # fmt: skip
        archive.write_manifest(manifest)
    click.echo(
        msgspec.json.encode(result(dest, manifest)).decode() if as_json else f"backed up to {dest}: {_sum(files)}"
    )


def result(place: str, manifest: Manifest) -> dict[str, str | int]:
    """What `--json` prints of a backup."""
    return {
        "place": place,
        "cluster": manifest.cluster,
        "started_at": manifest.started_at,
        "ended_at": manifest.ended_at,
        "slots": len(manifest.files),
        "objects": sum(file.objects for file in manifest.files),
        "bytes": sum(file.bytes for file in manifest.files),
    }


def _whole(api: GatewayApi) -> Cluster:
    """The cluster; waits a little for one that has just started."""
    for _ in range(int(SLOT_PATIENCE_S / SLOT_PAUSE_S)):
        found = read_cluster(api)
        if found.slots:
            return found
        sleep(SLOT_PAUSE_S)
    raise Unavailable("the cluster has no slots yet: its nodes have not started")


def _back_up(
    api: GatewayApi, archive: Archive, slot: int, wanted: ObjectId | None, heads: dict[int, str], stop: Stop
) -> SlotFile:
    """Write one slot's file; begins anew with the next owner where one is lost."""

    def once() -> SlotFile:
        query = {} if wanted is None else {"object": str(wanted)}
        with api.stream(f"/slots/{slot}/backup", **query) as body:
            parts = _checked(body, slot, heads, stop)
            return archive.write_slot(f"slot-{slot:05}", parts)

    return patiently(once, stop)


def _checked(body: Iterator[bytes], slot: int, heads: dict[int, str], stop: Stop) -> Iterator[Part]:
    """The messages of a body; a failure in it, or its early end, is raised."""
    parts = Parts()
    for data in body:
        stop.check()
        for part in parts.feed(data):
            if part.part.HasField("failure"):
                raise from_wire(part.part.failure.code, part.part.failure.message)
            if part.part.HasField("head"):
                heads[slot] = part.part.head.cluster
            yield part
            if part.part.end:
                return
    raise Unavailable(f"the gateway broke off in slot {slot}")


def _sum(files: Iterable[SlotFile]) -> str:
    known: Sequence[SlotFile] = list(files)
    objects = objects_text(sum(file.objects for file in known))
    return f"{objects}, {size_text(sum(file.bytes for file in known))}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
