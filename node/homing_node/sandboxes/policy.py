"""What the operator of a node decides about its sandboxes: who gets a jail of his own, and what may be lacking. Pure.

It is a setting of the node, and no argument of a run: how hard a wall is, is promised by whoever runs the machine, and
code that picks its own wall picks the thin one. An application says whose code it runs by its `tenant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from homing.errors import ConfigurationError, JailUnavailable

UIDS, CGROUPS = "uids", "cgroups"
LAYERS = (UIDS, CGROUPS)
"""Layers without which a jail can be built. Without any other there is none: user namespaces, seccomp, mounts."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """An operator's decisions.

    Attributes:
        strict: patterns, as of file names; the runs of tenants that fit one are strict.
        without: layers that may be lacking.

    Example:
        >>> SandboxPolicy(strict=("public-*",)).is_strict("public-7")
        True
    """

    strict: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()

    @classmethod
    def read(cls, strict: str, without: str) -> SandboxPolicy:
        """Out of settings, which are lists with commas.

        Raises:
            ConfigurationError: there is no such layer, or no doing without it.
        """
        layers = frozenset(_words(without))
        unknown = layers - set(LAYERS)
        if unknown:
            raise ConfigurationError(
                f"HOMING_SANDBOX_WITHOUT names {sorted(unknown)[0]!r}; what can be done without is {', '.join(LAYERS)}"
            )
        return cls(tuple(_words(strict)), layers)

    def is_strict(self, tenant: str) -> bool:
        """Whether a tenant's runs get jails of their own."""
        return any(fnmatchcase(tenant, pattern) for pattern in self.strict)

    def check(self, lacking: Mapping[str, str]) -> None:
        """Refuse a machine that lacks what may not be lacking.

        Args:
            lacking: layers, and what is the matter with each.

        Raises:
            JailUnavailable: names every layer, and the setting.
        """
        refused = {layer: why for layer, why in lacking.items() if layer not in self.without}
        if refused:
            told = "; ".join(f"{layer}: {why}" for layer, why in refused.items())
            setting = ",".join(sorted({*self.without, *refused}))
            raise JailUnavailable(
                f"sandboxes lack a layer here, and are not started: {told}. "
                f"HOMING_SANDBOX_WITHOUT={setting} starts them without it"
            )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
