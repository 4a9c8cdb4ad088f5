"""cgroups of version 1 and 2 as files: which one is taken, what is made and enabled; and a rule of version 2, tried.

A folder stands in for what the kernel shows, so this is about which files are written. What version 1 then does to
processes is in `tests/e2e`, where the host has it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from homing_node.workers.jail_cgroups import candidates, enable, prepare_cgroups

UNIFIED = Path("/sys/fs/cgroup/unified")


def as_version_1(root: Path, *controllers: str) -> Path:
    for controller in controllers:
        (root / controller).mkdir()
        (root / controller / "cgroup.procs").write_text("")
    return root


def as_version_2(root: Path, controllers: str) -> Path:
    (root / "cgroup.controllers").write_text(controllers)
    (root / "cgroup.subtree_control").write_text("")
    (root / "cgroup.procs").write_text("")
    return root


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("as_root")
def test_version_1_is_taken_where_it_has_the_controllers(tmp_path: Path):
    """A host may show both; whoever has memory and processes limits. Broken by: version 2 first."""
    as_version_2(as_version_1(tmp_path, "memory", "pids", "cpu"), "hugetlb")
    groups = prepare_cgroups(tmp_path, cpu=True)
    assert (groups.version, groups.cpu) == (1, True)
    assert [group.parent.name for group in groups.groups] == ["memory", "pids", "cpu"]
    told = " ".join(groups.arguments(1_000, 20, 900))
    for words in ("--cgroup_mem_max 1000", "--cgroup_pids_max 20", "--cgroup_cpu_ms_per_sec 900"):
        assert words in told
    assert "v2" not in told


@pytest.mark.usefixtures("as_root")
def test_version_1_without_cpu_limits_the_rest(tmp_path: Path):
    groups = prepare_cgroups(as_version_1(tmp_path, "memory", "pids"), cpu=True)
    assert (groups.version, groups.cpu, len(groups.groups)) == (1, False, 2)
    assert "--cgroup_cpu" not in " ".join(groups.arguments(1_000, 20, 900))


@pytest.mark.usefixtures("as_root")
def test_version_2_is_taken_where_version_1_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The files of the group that is made are not there, as only the kernel makes them: they are put there here."""
    as_version_2(tmp_path, "cpu io memory pids")
    made = Path.mkdir

    def mkdir(path: Path, *args: int, **options: bool) -> None:
        made(path, *args, **options)
        as_version_2(path, "cpu memory pids")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    groups = prepare_cgroups(tmp_path, cpu=True)
    assert (groups.version, groups.cpu) == (2, True), groups.reason
    (group,) = groups.groups
    assert group.parent == tmp_path
    for each in (tmp_path, group):
        assert (each / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    told = " ".join(groups.arguments(1_000, 20, 900))
    for words in (
        "--use_cgroupv2",
        f"--cgroupv2_mount {group}",
        "--cgroup_mem_max 1000",
        "--cgroup_cpu_ms_per_sec 900",
    ):
        assert words in told


@pytest.mark.usefixtures("as_root")
def test_version_2_without_cpu_limits_the_rest(tmp_path: Path):
    as_version_2(tmp_path, "memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids")
    assert not prepare_cgroups(tmp_path, cpu=True).cpu


def test_what_a_killed_nsjail_leaves_of_one_jail_goes_and_nothing_else(tmp_path: Path):
    groups = prepare_cgroups(as_version_1(tmp_path, "memory", "pids", "cpu"), cpu=True)
    for group in groups.groups:
        (group / "NSJAIL.7").mkdir()
        (group / "NSJAIL.8").mkdir()
    groups.remove_jail(7)
    groups.remove_jail(9)
    assert [[jail.name for jail in group.iterdir()] for group in groups.groups] == [["NSJAIL.8"]] * 3


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("0::/\n", ["."]),
        ("0::/system.slice/homing.service\n", ["system.slice/homing.service"]),
        ("0::/system.slice/homing.service/homing-processes\n", ["system.slice/homing.service"]),
        ("4:memory:/x\n", list[str]()),
    ],
)
def test_where_a_user_may_make_a_group(own: str, expected: list[str], monkeypatch: pytest.MonkeyPatch):
    """Broken by: a second pool whose node has made room before, which would look for its group where processes are."""
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert candidates(Path("/c"), own) == [Path("/c") / each for each in expected]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert candidates(Path("/c"), own)[0] == Path("/c")


@pytest.fixture
def delegated() -> Generator[Path]:
    """A real group of version 2 with a process in it and a controller to give, as a service has one."""
    control, group = UNIFIED / "cgroup.subtree_control", UNIFIED / f"homing-test-{os.getpid()}"
    before = control.read_text()
    control.write_text("+hugetlb")
    group.mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield group
        process.kill()
    for each in (*group.glob("*/"), group):
        each.rmdir()
    if not before:
        control.write_text("-hugetlb")


@pytest.mark.skipif(
    not os.access(UNIFIED / "cgroup.subtree_control", os.W_OK)
    or "hugetlb" not in (UNIFIED / "cgroup.controllers").read_text(),
    reason="needs root and version 2 with a controller to spare beside version 1",
)
def test_the_processes_of_a_delegated_group_make_room(delegated: Path):
    """The kernel's rule: who gives controllers has no processes. Broken by: `enable` without `_make_room` (EBUSY)."""
    before = (delegated / "cgroup.procs").read_text()
    enable(delegated, ("hugetlb",))
    assert (delegated / "cgroup.subtree_control").read_text().split() == ["hugetlb"]
    assert (delegated / "cgroup.procs").read_text() == ""
    assert (delegated / "homing-processes" / "cgroup.procs").read_text() == before
    enable(delegated, ("hugetlb",))  # which is so already
