"""`homing doctor` on this machine, and on one that it must complain about."""

from __future__ import annotations

import os
from pathlib import Path

from homing_node.doctor import examine, exit_code
from homing_node.workers.jail_cache import cache_folder


def by_name(**options: str) -> dict[str, tuple[bool, str, str]]:
    return {finding.name: (finding.ok, finding.detail, finding.hint) for finding in examine(**options)}


def test_it_builds_a_jail_and_finds_the_walls_standing():
    findings = examine()
    assert exit_code(findings) == 0, findings
    jail, sandbox = findings[-2:]
    assert (jail.name, sandbox.name) == ("a jail", "a sandbox")
    assert "no capability" in jail.detail
    assert "ran code" in sandbox.detail


def test_it_says_whose_uid_workers_have():
    ok, detail, _ = by_name()["uids"]
    assert ok
    assert ("own" in detail) if os.geteuid() == 0 else (f"share uid {os.getuid()}" in detail)


def test_another_nsjail_that_is_none_is_found_out():
    findings = by_name(nsjail="/bin/true")
    assert not findings["nsjail"][0]
    assert not findings["a jail"][0]
    assert not findings["a sandbox"][0]
    assert findings["nsjail"][2]


def test_a_cache_that_workers_cannot_reach_is_found_out(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    if os.geteuid() != 0:  # workers have the uid of the node, which can reach it
        assert cache_folder(str(closed / "cache")).is_dir()
        return
    ok, detail, hint = by_name(cache_dir=str(closed / "cache"))["cache"]
    assert not ok
    assert "cannot pass" in detail
    assert "HOMING_CACHE_DIR" in hint
