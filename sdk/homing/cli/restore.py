"""`homing restore SRC`: bring a backup into an empty cluster, or one object of it into any."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click
import msgspec

from homing.cli.archive import Archive, Manifest, SlotFile
from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.move import object_of
from homing.cli.slots_at_once import Stop, all_slots, objects_text, patiently, size_text
from homing.cli.status import Cluster, read_cluster
from homing.errors import BackupUnusable, BadRequest, NotFound
from homing.ids import slot_of
from homing.slot_frames import frame
from homing.wire.v1.call_pb2 import SlotPart

_END = frame(SlotPart(end=True).SerializeToString())


class Holds(msgspec.Struct):
    """What is read of `GET /_homing/v1/objects`."""

    objects: list[dict[str, object]] = []


class Written(msgspec.Struct):
    """What a gateway says when a slot is restored."""

    slot: int
    epoch: int
    objects: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be restored.

    Attributes:
        archive: from where.
        files: the files of the slots that are needed.
        wanted: the id of the one object, or empty.
        overwrite: whether objects that exist are replaced.
        run: names this run, so that a slot that is tried again leaves alone what is there already.
    """

    archive: Archive
    files: list[SlotFile]
    wanted: bytes
    overwrite: bool
    run: str


@click.command()
@click.argument("src")
@click.option("--object", "one", metavar="CLASS/NAME", help="Restore this object only; other objects are left alone.")
@click.option("--overwrite", is_flag=True, help="Replace objects that exist. Without it they are an error.")
@gateway_options
def restore(src: str, one: str | None, url: str, token: str, as_json: bool, *, overwrite: bool) -> None:
    """Restore the backup in SRC, a folder or an URL such as s3://bucket/prefix, into an empty cluster.

    The whole backup is checked before anything is written. Slots get epochs above those of the backup.
    """
    archive = Archive(src)
    manifest = archive.manifest()
    if manifest is None:
        raise BackupUnusable(f"{src} holds no backup: there is no manifest, so what else is there was never finished")
    wanted = object_of(one, manifest.jurisdictions).raw if one else bytes.fromhex(manifest.object)
    with GatewayApi(url, token) as api:
        check_slots(read_cluster(api), manifest)
        if not wanted and not overwrite:
            _check_empty(api)
        plan = Plan(archive, needed(manifest, wanted), wanted, overwrite, secrets.token_hex(8))
        found = all_slots(plan.files, lambda file, stop: _check(plan, manifest, file, stop), lambda _: "checked")
        if wanted and not any(found):
            raise NotFound(f"the backup does not hold {one or 'its object'}")
        done = all_slots(plan.files, lambda file, stop: _restore(api, plan, file, stop), _sum)
    size = sum(file.bytes for file in plan.files)
    if as_json:
        outcome = {"place": src, "slots": len(done), "objects": sum(each.objects for each in done), "bytes": size}
        click.echo(msgspec.json.encode(outcome).decode())
    else:
        click.echo(f"restored from {src}: {_sum(done)}" + ("" if wanted else f", {size_text(size)}"))


def check_slots(cluster: Cluster, manifest: Manifest) -> None:
    """An object's slot depends on how many there are, and on the number of its jurisdiction.

    Raises:
        BadRequest: the cluster has others than the backup.
    """
    there = cluster.hashed_slots
    if there != manifest.slots:
        raise BadRequest(
            f"the backup is of a cluster with {manifest.slots} slots, and this one has {there}: start an empty cluster "
            f"with HOMING_SLOTS={manifest.slots}"
        )
    names = manifest.jurisdictions
    if cluster.names[: len(names)] != names:
        raise BadRequest(
            f"the backup is of a cluster with the jurisdictions {', '.join(names)}, and this one has "
            f"{', '.join(cluster.names) or 'none'}: start a cluster whose HOMING_JURISDICTIONS begins with those"
        )


def _check_empty(api: GatewayApi) -> None:
    found = msgspec.json.decode(api.get("/objects"), type=Holds).objects
    if found:
        example = f"{found[0].get('class')}/{found[0].get('name') or 'id:' + str(found[0].get('id'))}"
        raise BadRequest(
            f"the cluster has objects, such as {example}: restore into an empty one, or one object with --object; "
            "after a restore that broke off, --overwrite begins anew"
        )


def needed(manifest: Manifest, wanted: bytes) -> list[SlotFile]:
    """The files of all slots, or of the slot of the one object that is wanted, by id.

    Raises:
        BackupUnusable: the manifest lacks some.
    """
    if not wanted:
        found = sorted(file.slot for file in manifest.files)
        twice = len(set(found)) < len(found)
        if twice or found[: manifest.slots] != list(range(manifest.slots)) or found[-1] >= manifest.slots_in_all:
            raise BackupUnusable("the manifest does not name every slot once")
        return manifest.files
    slot = slot_of(wanted, manifest.slots)
    return [file for file in manifest.files if file.slot == slot]


def _check(plan: Plan, manifest: Manifest, file: SlotFile, stop: Stop) -> bool:
    """Read a file to its end, which checks it; returns whether the object that is wanted is in it."""
    found = False
    for part in plan.archive.read_slot(file):
        stop.check()
        found = found or any(each.object == plan.wanted for each in part.part.objects)
        if part.part.HasField("head"):
            head = part.part.head
            if (head.slot, head.slots, head.epoch, head.promised) != (
                file.slot, manifest.slots, file.epoch, file.promised,
            ):  # fmt: skip
                raise BackupUnusable(f"{file.file} is of another slot or backup than the manifest says")
    return found


def _restore(api: GatewayApi, plan: Plan, file: SlotFile, stop: Stop) -> Written:
    """Write one slot, or the one object in it; begins anew where its owner is lost, and leaves alone what is there.

    One object is written by whoever serves its slot now: nothing else of the slot changes, so its epoch need not.
    """
    above = 0 if plan.wanted else max(file.epoch, file.promised)

    def once() -> Written:
        answer = api.send(
            f"/slots/{file.slot}/restore", _frames(plan, file, stop), run=plan.run, above=above,
            overwrite=int(plan.overwrite),
        )  # fmt: skip
        return msgspec.json.decode(answer, type=Written)

    try:
        return patiently(once, stop)
    except BadRequest as error:
        if plan.overwrite or "exists" not in error.message:
            raise
        raise BadRequest(f"{error.message}; --overwrite replaces it") from error


def _frames(plan: Plan, file: SlotFile, stop: Stop) -> Iterator[bytes]:
    """A file's objects, or the one that is wanted, as a gateway takes them."""
    for part in plan.archive.read_slot(file):
        stop.check()
        if not plan.wanted:
            if part.part.objects:
                yield frame(part.data)
            continue
        mine = [each for each in part.part.objects if each.object == plan.wanted]
        if mine:
            yield frame(SlotPart(objects=mine).SerializeToString())
    yield _END


def _sum(done: Iterable[Written]) -> str:
    return objects_text(sum(each.objects for each in done))
