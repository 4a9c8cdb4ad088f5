"""What the operator's list of packages for sandboxes says, and which modules of them a zygote imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from homing.errors import ConfigurationError
from homing_node.sandboxes.wheels import Wheels, read_wheels
from homing_node.workers.app_requirements import Requirements


def listed(folder: Path, text: str) -> Path:
    (folder / "list.txt").write_text(text)
    return folder / "list.txt"


def test_packages_and_modules(tmp_path: Path):
    found = read_wheels(listed(tmp_path, "numpy==2.4.6 # arrays\n"), "numpy, numpy.random,")
    assert found == Wheels(Requirements("list.txt", ("numpy==2.4.6",)), ("numpy", "numpy.random"))
    assert found is not None
    assert found.modules(tmp_path) == ["numpy", "numpy.random"]


def test_by_default_the_modules_at_the_top(tmp_path: Path):
    """Broken by: importing what begins with an underscore, tables of contents, or folders that are no package."""
    for file in ("one/__init__.py", "one/deeper.py", "two.py", "fast.cpython-311-x86_64-linux-gnu.so", "_own.py",
                 "one-1.0.dist-info/METADATA", "bin/tool", "one.libs/libx.so", "notes.txt"):  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    assert Wheels(Requirements("list.txt", ("one",))).modules(tmp_path) == ["fast", "one", "two"]


@pytest.mark.parametrize(
    ("text", "imports", "said"),
    [
        ("-r other.txt", "", r"list\.txt has '-r other\.txt'"),
        ("# nothing", "", "lists no package"),
        ("numpy", "numpy,os;x", "'os;x', which is no name of a module"),
        ("numpy", "..numpy", "no name of a module"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, imports: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        read_wheels(listed(tmp_path, text), imports)


def test_modules_of_no_package_are_refused():
    with pytest.raises(ConfigurationError, match="HOMING_SANDBOX_REQUIREMENTS"):
        read_wheels(None, "numpy")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"gone\.txt, which cannot be read"):
        read_wheels(tmp_path / "gone.txt")
