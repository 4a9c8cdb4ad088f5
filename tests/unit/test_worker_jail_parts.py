"""The pure parts of a jail: its configuration as text, uids, cgroup arguments, and what exit statuses say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from homing.errors import JailUnavailable
from homing_node.workers import limits
from homing_node.workers.jail import explain_exit, nsjail_binary
from homing_node.workers.jail_cgroups import Cgroups, prepare_cgroups
from homing_node.workers.jail_config import JailLimits, Policy, load_policy, quote, render
from homing_node.workers.jail_system import cpu_s_of, parent_of, start_ticks_of, status_of
from homing_node.workers.jail_uids import take_uid, uid_range

ALL_NAMESPACES = ("newnet", "newuser", "newns", "newpid", "newipc", "newuts", "newcgroup")


def rendered(app: str = "/app/folder") -> str:
    return render(load_policy("x86_64"), Path("/runtime"), Path(app), 7, 8, JailLimits())


def test_nothing_is_left_to_fill_in():
    text = rendered()
    assert not re.search(r"@[A-Z_]+@", text)
    assert 'outside_id: "7"' in text
    assert 'src: "/app/folder" dst: "/app" is_bind: true rw: false' in text
    assert 'src: "/runtime/packages" dst: "/packages" is_bind: true rw: false' in text
    given = render(load_policy("x86_64"), Path("/runtime"), Path("/app"), 7, 8, JailLimits(), Path("/tree"))
    assert 'src: "/tree" dst: "/packages" is_bind: true rw: false' in given


def test_the_walls_are_in_the_configuration():
    """A reminder: whoever loosens one of these changes what DESIGN calls zero capability."""
    lines = rendered().splitlines()
    for name in ALL_NAMESPACES:
        assert f"clone_{name}: true" in lines
    for line in ("keep_env: false", "keep_caps: false", "disable_no_new_privs: false", "mount_proc: false"):
        assert line in lines
    for line in ("iface_no_lo: true", "rlimit_fsize: 0", "rlimit_core: 0", "rlimit_cpu_type: INF", "pass_fd: 3"):
        assert line in lines
    assert sum(line.startswith("mount {") for line in lines) == 3
    assert sum(line.startswith("pass_fd") for line in lines) == 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "amd64", "arm64"])
def test_the_policy_is_a_list_of_what_is_allowed(machine: str):
    policy = load_policy(machine).seccomp
    words = set(re.findall(r"\w+", re.sub(r"//[^\n]*", "", policy)))
    assert policy.rstrip().endswith("DEFAULT ERRNO(1)")
    for call in ("socket", "connect", "fork", "vfork", "mount", "ptrace", "bpf", "unshare", "setns", "kill", "prctl"):
        assert call not in words
    assert {"read", "futex", "epoll_pwait", "getrandom"} <= words


def test_aarch64_differs_only_by_calls_that_it_does_not_have():
    calls = {
        machine: set(re.findall(r"\w+", re.sub(r"//[^\n]*", "", load_policy(machine).seccomp)))
        for machine in ("x86_64", "aarch64")
    }
    old = {"dup2", "newstat", "newlstat", "access", "readlink", "epoll_wait", "poll", "select", "time", "arch_prctl"}
    assert calls["x86_64"] - calls["aarch64"] == old
    assert calls["aarch64"] <= calls["x86_64"]


def test_a_placeholder_that_is_not_known_is_an_error():
    with pytest.raises(JailUnavailable, match="@HOLE@"):
        render(Policy("x: @HOLE@", ""), Path("/r"), Path("/a"), 1, 1, JailLimits())


def test_paths_cannot_leave_their_quotes():
    text = rendered('/a" rw: true }\nmount { src: "/')
    (line,) = [line for line in text.splitlines() if 'dst: "/app"' in line]
    assert line.count(" rw: true") == 1
    assert '\\"' in line
    assert "\\012" in line
    assert sum(line.startswith("mount {") for line in text.splitlines()) == 3


@pytest.mark.parametrize(("text", "quoted"), [("a", "a"), ("\\", "\\\\"), ("é", "\\303\\251"), ("\x00", "\\000")])
def test_quote(text: str, quoted: str):
    assert quote(text) == quoted


def test_uids_come_from_a_range_that_is_mapped():
    whole = uid_range("0 0 4294967295")
    assert whole.start == limits.worker_uid_first
    assert len(whole) == limits.worker_uids_max
    container = uid_range("         0     100000      65536")
    assert container.stop <= 65_536
    assert container.start > 1_000
    assert not uid_range("0 1000 1")
    assert not uid_range("")


def test_two_workers_never_share_a_uid_as_root(tmp_path: Path):
    if os.geteuid() != 0:
        assert take_uid(folder=tmp_path).uid == os.getuid()
        assert not take_uid(folder=tmp_path).own
        return
    first, second = take_uid(folder=tmp_path), take_uid(folder=tmp_path)
    assert first.own
    assert first.uid != second.uid
    first.release()
    assert take_uid(folder=tmp_path).uid == first.uid


def test_when_every_uid_is_taken_there_is_no_jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "worker_uids_max", 2)
    held = [take_uid(root=True, folder=tmp_path) for _ in range(2)]
    with pytest.raises(JailUnavailable, match="no uid is left"):
        take_uid(root=True, folder=tmp_path)
    held[0].release()
    take_uid(root=True, folder=tmp_path)


def test_cgroup_arguments():
    one = Cgroups(1, (Path("/c/memory/homing-1"), Path("/c/pids/homing-1"))).arguments(5, 6)
    assert one[:4] == ["--cgroup_mem_mount", "/c/memory", "--cgroup_mem_parent", "homing-1"]
    two = Cgroups(2, (Path("/c/homing-1"),)).arguments(5, 6)
    assert two == ["--use_cgroupv2", "--cgroupv2_mount", "/c/homing-1", *one[-4:]]
    assert Cgroups(0).arguments(5, 6) == []


def test_a_host_without_cgroups_is_a_finding(tmp_path: Path):
    found = prepare_cgroups(tmp_path)
    assert found.version == 0
    assert found.reason


def test_version_1_is_swept_of_dead_nodes_and_spares_living_ones(tmp_path: Path):
    dead, living = "homing-1-1-1", f"homing-{os.getpid()}-{start_ticks_of(os.getpid())}-99"
    for controller in ("memory", "pids"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").write_text("")
        for name in (dead, living, "homing-other"):
            (tmp_path / controller / name).mkdir()
    groups = prepare_cgroups(tmp_path)
    assert groups.version == 1
    assert not (tmp_path / "memory" / dead).exists()
    assert (tmp_path / "memory" / living).exists()
    assert (tmp_path / "memory" / "homing-other").exists()
    assert all(group.is_dir() for group in groups.groups)
    groups.remove()
    assert not any(group.exists() for group in groups.groups)


def test_exit_statuses():
    assert "nsjail" in explain_exit(255)
    assert "SIGKILL" in explain_exit(137)
    assert explain_exit(3) == "exit status 3"


def test_nsjail_comes_from_its_package_and_never_from_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also not from the variable that the package itself would look at."""
    (tmp_path / "nsjail").write_text("#!/bin/sh\n")
    (tmp_path / "nsjail").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NSJAIL", str(tmp_path / "nsjail"))
    assert nsjail_binary().parts[-3:] == ("nsjail", "bin", "nsjail")
    assert nsjail_binary(str(tmp_path / "nsjail")) == tmp_path / "nsjail"
    for wrong in ("nsjail", "/no/nsjail", str(tmp_path)[:0] + "bin/nsjail"):
        with pytest.raises(JailUnavailable):
            nsjail_binary(wrong)


def test_what_proc_says_of_this_process():
    assert parent_of(os.getpid()) == os.getppid()
    assert (cpu_s_of(os.getpid()) or 0) > 0
    assert status_of(os.getpid())["Pid"] == str(os.getpid())
    assert cpu_s_of(2**22 + 1) is None
    assert status_of(2**22 + 1) == {}
