"""CSS selectors, as far as they can be told when a start tag is seen (https://www.w3.org/TR/selectors-4/).

A selector is a chain of compounds. Each compound has a bit: an open element keeps the bits of the compounds that end a
matching chain at it, and those of its ancestors. So a new element asks its parent alone, however deep it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from homing.errors import NotSupported

selector_characters_max = 4_096
selector_depth_max = 16  # of `:not` in `:not`

_IDENTIFIER = re.compile(r"-?(?:[a-zA-Z_\u0080-\U0010ffff]|\\[^\n])(?:[\w\-\u0080-\U0010ffff]|\\[^\n])*")
_STRING = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'")
_COMBINATOR = re.compile(r"\s*([>+~,])\s*|\s+")
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)")
_OPERATOR = re.compile(r"\s*([~^$*|]?=)\s*")
_FLAG = re.compile(r"\s*([iIsS])?\s*\]")
_NTH = re.compile(
    r"\s*(?:(?P<word>odd|even)|(?P<a>[+-]?\d*)n(?:\s*(?P<sign>[+-])\s*(?P<b>\d+))?|(?P<only>[+-]?\d+))\s*"
)


class Seen(Protocol):
    """An element whose start tag was seen.

    Attributes:
        tag: its name, in lower case.
        attributes: values by names in lower case.
        nth_child, nth_of_type: where it stands among the children of its parent, from 1.
    """

    tag: str
    nth_child: int
    nth_of_type: int

    @property
    def attributes(self) -> Mapping[str, str]:
        """Its attributes, by name."""
        ...


Test = Callable[[Seen], bool]


@dataclass(slots=True, frozen=True)
class Compound:
    """What one element must be.

    Attributes:
        tests: of its name, classes, attributes and place.
        above: the compound that another element must match, -1: none.
        is_child: that element is its parent, not any ancestor.
    """

    tests: tuple[Test, ...]
    above: int
    is_child: bool


@dataclass(slots=True)
class Selectors:
    """The selectors of a rewriter.

    Attributes:
        compounds: of all of them; a compound's place is the number of its bit.
        ends: by the bit of a chain's last compound, which selector it is of.
    """

    compounds: list[Compound] = field(default_factory=list[Compound])
    ends: dict[int, int] = field(default_factory=dict[int, int])
    _count: int = 0

    def add(self, selector: str) -> int:
        """Take one more; returns its number, from 0.

        Raises:
            ValueError: it is none.
            NotSupported: it asks for what cannot be known yet when a start tag is seen.
        """
        if len(selector) > selector_characters_max:
            raise ValueError(f"a selector has at most {selector_characters_max} characters")
        compounds, ends = _Reader(selector, len(self.compounds)).selector()
        self.compounds += compounds
        self.ends |= dict.fromkeys(ends, self._count)
        self._count += 1
        return self._count - 1

    def match(self, element: Seen, parent: int, ancestors: int) -> int:
        """The bits of an element.

        Args:
            element: the element.
            parent: bits of its parent.
            ancestors: bits of all elements around it.
        """
        bits = 0
        for number, compound in enumerate(self.compounds):
            around = parent if compound.is_child else ancestors
            if compound.above >= 0 and not around >> compound.above & 1:
                continue
            if all(test(element) for test in compound.tests):
                bits |= 1 << number
        return bits

    def matched(self, bits: int) -> list[int]:
        """The numbers of the selectors that bits stand for, in the order in which they were added."""
        return sorted({number for bit, number in self.ends.items() if bits >> bit & 1})


class _Reader:
    """Reads one selector.

    Args:
        text: the selector.
        first: the number of its first compound.
    """

    def __init__(self, text: str, first: int) -> None:
        self._text = text.strip()
        self._at = 0
        self._first = first
        self._depth = 0

    def selector(self) -> tuple[list[Compound], list[int]]:
        """Its compounds, and the numbers of those that end a chain."""
        compounds: list[Compound] = []
        ends: list[int] = []
        above, is_child = -1, False
        while True:
            compounds.append(Compound(self._compound(), above, is_child))
            above = self._first + len(compounds) - 1
            if self._at == len(self._text):
                return compounds, [*ends, above]
            found = self._take(_COMBINATOR)
            if found[1] in ("+", "~"):
                raise NotSupported(f"a selector with {found[1]} is not supported")
            is_child = found[1] == ">"
            if found[1] == ",":
                ends.append(above)
                above = -1

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"not a selector: {self._text!r} at character {self._at + 1}")
        self._at = found.end()
        return found

    def _name(self) -> str:
        return _unescaped(self._take(_IDENTIFIER)[0])

    def _compound(self) -> tuple[Test, ...]:
        tests: list[Test] = []
        begin = self._at
        if self._text.startswith("*", self._at):
            self._at += 1
        elif _IDENTIFIER.match(self._text, self._at) is not None:
            tests.append(_has_tag(self._name().lower()))
        while self._at < len(self._text) and self._text[self._at] in ".#[:":
            self._at += 1
            tests.append(self._simple(self._text[self._at - 1]))
        if self._at == begin:
            self._take(_IDENTIFIER)  # which says where it is wrong
        return tuple(tests)

    def _simple(self, kind: str) -> Test:
        if kind == ".":
            return _has_word("class", self._name())
        if kind == "#":
            return _compares("id", "=", self._name(), fold=False)
        return self._attribute() if kind == "[" else self._pseudo()

    def _attribute(self) -> Test:
        self._skip()
        name = self._name().lower()
        self._skip()
        if self._text.startswith("]", self._at):
            self._at += 1
            return lambda element: name in element.attributes
        operator = self._take(_OPERATOR)[1]
        if self._text[self._at : self._at + 1] in ("'", '"'):
            found = self._take(_STRING)
            value = _unescaped(found[1] if found[1] is not None else found[2])
        else:
            value = self._name()
        return _compares(name, operator, value, fold=self._take(_FLAG)[1] in ("i", "I"))

    def _pseudo(self) -> Test:
        name = self._name().lower()
        if name == "first-child":
            return lambda element: element.nth_child == 1
        if name == "first-of-type":
            return lambda element: element.nth_of_type == 1
        if name not in ("nth-child", "nth-of-type", "not"):
            raise NotSupported(f"a selector with :{name} is not supported")
        self._expect("(")
        if name == "not":
            return self._negation()
        step, offset = _progression(self._take(_NTH))
        self._expect(")")
        return _is_nth(step, offset, of_type=name == "nth-of-type")

    def _negation(self) -> Test:
        refused: list[tuple[Test, ...]] = []
        self._depth += 1
        if self._depth > selector_depth_max:
            raise ValueError(f"in a selector :not stands in :not at most {selector_depth_max} times")
        while True:
            self._skip()
            refused.append(self._compound())
            self._skip()
            if not self._text.startswith(",", self._at):
                break
            self._at += 1
        self._expect(")")
        self._depth -= 1
        return lambda element: not any(all(test(element) for test in tests) for tests in refused)

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _expect(self, character: str) -> None:
        self._take(re.compile(re.escape(character)))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _character(found[1]) if found[1] else found[2], text)


def _character(digits: str) -> str:
    code = int(digits, 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _has_tag(tag: str) -> Test:
    return lambda element: element.tag == tag


def _has_word(name: str, word: str) -> Test:
    return lambda element: word in element.attributes.get(name, "").split()


def _is(found: str, wanted: str) -> bool:
    return found == wanted


def _has(found: str, wanted: str) -> bool:
    return wanted in found.split()


def _holds(found: str, wanted: str) -> bool:
    return bool(wanted) and wanted in found


def _begins(found: str, wanted: str) -> bool:
    return bool(wanted) and found.startswith(wanted)


def _ends(found: str, wanted: str) -> bool:
    return bool(wanted) and found.endswith(wanted)


def _is_kind(found: str, wanted: str) -> bool:
    return found == wanted or found.startswith(f"{wanted}-")


_COMPARISONS = {"=": _is, "~=": _has, "*=": _holds, "^=": _begins, "$=": _ends, "|=": _is_kind}


def _compares(name: str, operator: str, value: str, *, fold: bool) -> Test:
    """Compare an attribute's value; `fold`: capitals of ASCII are as good as small letters."""
    compare, wanted = _COMPARISONS[operator], _folded(value) if fold else value

    def test(element: Seen) -> bool:
        found = element.attributes.get(name)
        return found is not None and compare(_folded(found) if fold else found, wanted)

    return test


def _folded(text: str) -> str:
    return "".join(character.lower() if character.isascii() else character for character in text)


def _progression(found: re.Match[str]) -> tuple[int, int]:
    """Of `an+b`, a and b."""
    if found["word"]:
        return 2, int(found["word"] == "odd")
    if found["only"]:
        return 0, int(found["only"])
    step = found["a"]
    offset = int(f"{found['sign']}{found['b']}") if found["b"] else 0
    return (int(f"{step}1") if step in ("", "+", "-") else int(step)), offset


def _is_nth(step: int, offset: int, *, of_type: bool) -> Test:
    def test(element: Seen) -> bool:
        past = (element.nth_of_type if of_type else element.nth_child) - offset
        return past == 0 if step == 0 else past % step == 0 and past // step >= 0

    return test
