"""The jail of a zygote as text, the uids of its sandboxes, its cgroup's arguments, and the packets of its orders."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from homing.errors import JailUnavailable
from homing_node.sandboxes.inside.orders import ENDED, LOADS, NOTICE_BYTES, ORDER_BYTES, Notice, Order
from homing_node.workers import limits
from homing_node.workers.jail_cgroups import Cgroups
from homing_node.workers.jail_config import JailLimits, load_policy, render
from homing_node.workers.jail_uids import take_zygote_uids, uid_range, zygote_blocks

HOST = "0 0 4294967295"
CONTAINER = "0 100000 65536"


def lines() -> list[str]:
    policy = load_policy("x86_64", of="zygote")
    return render(policy, Path("/runtime"), Path("/app"), 7, 8, JailLimits(), uids=9).splitlines()


def test_the_walls_are_in_the_configuration():
    """A reminder: whoever loosens one of these changes what docs/security.md promises."""
    found = lines()
    assert not re.search(r"@[A-Z_]+@", "\n".join(found))
    for name in ("newnet", "newuser", "newns", "newpid", "newipc", "newuts", "newcgroup"):
        assert f"clone_{name}: true" in found
    for line in ("keep_env: false", "keep_caps: false", "disable_no_new_privs: false", "mount_proc: false"):
        assert line in found
    for line in ("iface_no_lo: true", "rlimit_fsize: 0", "rlimit_core: 0", "rlimit_memlock: 0", "pass_fd: 3"):
        assert line in found
    capabilities = {line.split('"')[1] for line in found if line.startswith("cap:")}
    assert capabilities == {"CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}
    mounts = [line for line in found if line.startswith("mount {")]
    places = (("/runtime", "/"), ("/runtime/packages", "/packages"))
    for mount, (source, place) in zip(mounts, places, strict=True):
        assert f'src: "{source}" dst: "{place}" is_bind: true rw: false nosuid: true nodev: true' in mount
    assert 'uidmap { inside_id: "0" outside_id: "7" count: 9 }' in found
    assert 'gidmap { inside_id: "0" outside_id: "8" count: 9 }' in found


@pytest.mark.parametrize("uid_map", [HOST, CONTAINER])
def test_no_uid_is_of_a_worker_and_of_a_sandbox(uid_map: str):
    workers = uid_range(uid_map)
    blocks = [range(first, first + limits.zygote_uids) for first in zygote_blocks(uid_map)]
    assert blocks
    for before, block in pairwise(blocks):
        assert before.stop <= block.start
    assert all(block.stop <= workers.start or block.start >= workers.stop for block in blocks)


def test_a_container_that_maps_too_few_has_none():
    assert zygote_blocks("0 1000 1") == []


def test_a_block_is_one_zygotes_alone(tmp_path: Path):
    first, second = (take_zygote_uids(root=True, folder=tmp_path) for _ in range(2))
    assert first.own
    assert first.count == limits.zygote_uids
    assert first.uid != second.uid
    first.release()
    assert take_zygote_uids(root=True, folder=tmp_path).uid == first.uid


def test_an_ordinary_user_has_one_uid(tmp_path: Path):
    assert take_zygote_uids(root=False, folder=tmp_path).count == 1


def test_locks_that_cannot_be_made_are_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JailUnavailable):
        take_zygote_uids(root=True, folder=tmp_path / "file")


def test_cpu_is_limited_where_the_host_can():
    groups = tuple(Path(f"/sys/fs/cgroup/{name}/homing-1-2-3") for name in ("memory", "pids", "cpu"))
    words = " ".join(Cgroups(1, groups, cpu=True).arguments(10, 20, 900))
    for option in ("--cgroup_cpu_ms_per_sec 900", "--cgroup_cpu_mount /sys/fs/cgroup/cpu", "--cgroup_mem_max 10"):
        assert option in words
    assert "--cgroup_cpu_parent homing-1-2-3" in words
    assert "cpu" not in " ".join(Cgroups(1, groups[:2]).arguments(10, 20, 900))
    assert "--cgroup_cpu_ms_per_sec 900" in " ".join(Cgroups(2, groups[:1], cpu=True).arguments(10, 20, 900))


def test_orders_and_notices_are_packets_of_one_size():
    order, notice = Order(1, 2, 1 << 40, 5, LOADS), Notice(ENDED, 1, 9, 1_000_000, 2_500)
    assert Order.unpack(order.pack()) == order
    assert Notice.unpack(notice.pack()) == notice
    assert (len(order.pack()), len(notice.pack())) == (ORDER_BYTES, NOTICE_BYTES)
    for size in (0, ORDER_BYTES - 1, ORDER_BYTES + 1):
        with pytest.raises(struct.error):
            Order.unpack(bytes(size))
