"""The page of the API is made of docstrings: their sections, signatures, and whatever is exported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "api_reference.py"

DOCSTRING = """Put it there.

    Not elsewhere.

    Args:
        where, when: a place,
            and a time.
        *more: the rest.

    Handlers:
        fetch(self, request): answers.

    Raises:
        ValueError: it is there.

    Example:
        >>> put("a")  # doctest: +SKIP
        1
    """
MARKDOWN = """Put it there.

Not elsewhere.

Args:

- `where`, `when`: a place,
  and a time.
- `*more`: the rest.

Handlers:

- `fetch(self, request)`: answers.

Raises:

- `ValueError`: it is there.

```python
put("a")
# 1
```"""


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_reference", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["api_reference"] = module
    spec.loader.exec_module(module)
    return module


def test_sections_of_a_docstring(reference: ModuleType) -> None:
    assert reference.to_markdown(DOCSTRING) == MARKDOWN
    without = reference.to_markdown(DOCSTRING, leave_out="Args")
    assert without == MARKDOWN.replace(MARKDOWN[MARKDOWN.index("Args") : MARKDOWN.index("Handlers")], "")


def test_a_signature_is_shown_as_it_was_written(reference: ModuleType) -> None:
    async def put(self: object, key: str, *, times: int | None = None) -> list[str]: ...

    assert reference.signature("put", put, bound=True) == (
        "async put(key: str, *, times: int | None = None) -> list[str]"
    )

    def long(self: object, first: str, second: str = "", *, third: list[str] | None = None) -> dict[str, int]: ...

    assert reference.signature("called_by_a_long_name", long, bound=True) == (
        "called_by_a_long_name(\n"
        "    first: str,\n    second: str = '',\n    *,\n    third: list[str] | None = None,\n"
        ") -> dict[str, int]"
    )


def test_what_is_exported_is_on_the_page(reference: ModuleType) -> None:
    def fresh() -> None: ...

    module = SimpleNamespace(__all__=["fresh"], fresh=fresh)
    assert reference.missing(reference.GROUPS, module) == ["fresh"]
    assert reference.missing((*reference.GROUPS, reference.Group("Fresh", made=(fresh,))), module) == []


def test_a_page_that_is_not_up_to_date_is_told(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "PAGE", tmp_path / "api.md")
    with pytest.raises(SystemExit, match="make reference"):
        reference.main(["--check"])
    reference.main([])
    reference.main(["--check"])
    page = (tmp_path / "api.md").read_text()
    (tmp_path / "api.md").write_text(page.replace("`Storage`", "`Stowage`"))
    with pytest.raises(SystemExit, match="make reference"):
        reference.main(["--check"])
