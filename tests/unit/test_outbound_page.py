"""docs/reference/outbound.md says what the code of grants does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from homing import errors
from homing.errors import HomingError
from homing_node import limits
from homing_node.broker.policy import OutboundGrant, OutboundLimits, read_grant

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "outbound.md").read_text()


def table(heading: str) -> list[list[str]]:
    text = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_the_limits_are_those_of_the_code() -> None:
    plain = msgspec.structs.asdict(OutboundLimits())
    assert [row[:2] for row in table("limit")] == [[f"`{name}`", f"{int(value):,}"] for name, value in plain.items()]
    assert f"{limits.grant_secret_chars_min} to {limits.grant_secret_chars_max:,} visible characters" in PAGE


def test_the_fields_are_those_of_the_code_and_the_example_is_one() -> None:
    assert [row[0].strip("`") for row in table("field")] == list(OutboundGrant.__struct_fields__)
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    assert read_grant(json.loads(example[1])).limits.calls_max == 100


def test_the_errors_are_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HomingError)]
    found = {code for row in table("error") for code in re.findall(r"`([a-z-]+)`", row[0])}
    assert found <= {kind.code for kind in kinds}
    assert len(found) == 8
