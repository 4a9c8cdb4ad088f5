"""What an operator decides about sandboxes, and which layers a machine lacks."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from homing.errors import ConfigurationError, JailUnavailable
from homing_node.sandboxes.jails import lacking_layers
from homing_node.sandboxes.policy import CGROUPS, LAYERS, UIDS, SandboxPolicy
from homing_node.workers.jail_cgroups import Cgroups
from homing_node.workers.jail_config import JailLimits, load_policy, render

GROUPS = (Path("/c/memory/homing-1"), Path("/c/pids/homing-1"), Path("/c/cpu/homing-1"))


@pytest.mark.parametrize(
    ("setting", "tenant", "strict"),
    [
        ("", "ada", False),
        ("", "", False),
        ("*", "", True),
        ("public-*, guests", "public-7", True),
        ("public-*, guests", "guests", True),
        ("public-*, guests", "guests2", False),
        ("public-*", "PUBLIC-7", False),
        ("a.c", "abc", False),
    ],
)
def test_who_is_strict(setting: str, tenant: str, strict: bool):
    assert SandboxPolicy.read(setting, "").is_strict(tenant) == strict


def test_what_cannot_be_done_without_is_no_setting():
    assert SandboxPolicy.read("", "uids , cgroups,").without == frozenset(LAYERS)
    for without in ("seccomp", "user-namespaces", "uids,mounts", "*"):
        with pytest.raises(ConfigurationError, match="uids, cgroups"):
            SandboxPolicy.read("", without)


@pytest.mark.parametrize(
    ("without", "lacking", "refused"),
    [
        ("", {}, set[str]()),
        ("", {UIDS: "one uid"}, {UIDS}),
        ("uids", {UIDS: "one uid"}, set[str]()),
        ("uids", {UIDS: "one uid", CGROUPS: "none"}, {CGROUPS}),
        ("", {UIDS: "one uid", CGROUPS: "none"}, {UIDS, CGROUPS}),
        ("uids,cgroups", {}, set[str]()),
    ],
)
def test_what_is_lacking_is_refused_unless_told(without: str, lacking: dict[str, str], refused: set[str]):
    """Broken by: a check that one layer's name lets pass for another."""
    policy = SandboxPolicy.read("", without)
    if not refused:
        policy.check(lacking)
        return
    with pytest.raises(JailUnavailable) as error:
        policy.check(lacking)
    for layer in refused:
        assert f"{layer}: {lacking[layer]}" in error.value.message
    told = re.search(r"HOMING_SANDBOX_WITHOUT=([\w,]+)", error.value.message)
    assert told is not None
    assert set(told[1].split(",")) == refused | policy.without


def test_layers_of_a_host(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lacking_layers(Cgroups(1, GROUPS, cpu=True)) == {}
    assert lacking_layers(Cgroups(2, GROUPS[:1], cpu=True)) == {}
    assert lacking_layers(Cgroups(0, reason="none here")) == {CGROUPS: "none here"}
    assert set(lacking_layers(Cgroups(2, GROUPS[:1]))) == {CGROUPS}
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert set(lacking_layers(Cgroups(1, GROUPS, cpu=True))) == {UIDS}


def test_the_jail_of_a_strict_sandbox_has_every_wall_of_a_workers():
    """A reminder: whoever loosens one of these changes what docs/security.md promises."""
    policy = load_policy("x86_64", of="strict")
    found = render(policy, Path("/runtime"), Path("/app"), 7, 8, JailLimits()).splitlines()
    for name in ("newnet", "newuser", "newns", "newpid", "newipc", "newuts", "newcgroup"):
        assert f"clone_{name}: true" in found
    assert not [line for line in found if line.startswith("cap:")]
    assert 'uidmap { inside_id: "1000" outside_id: "7" count: 1 }' in found
    (filtered,) = [line for line in found if line.startswith("seccomp_string")]
    assert "POLICY strict" in filtered
    words = set(re.findall(r"\w+", re.sub(r"//[^\n]*", "", policy.seccomp)))
    assert not words & {"unshare", "setns", "setresuid", "wait4", "pidfd_open", "sendmsg", "recvmsg", "socket", "kill"}
