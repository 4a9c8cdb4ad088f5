"""The pages of one file: what was written is taken once, or put back exactly."""

import pytest

from homing.errors import CommitTooLarge
from homing_node.workers.inside import limits, pages
from homing_node.workers.inside.vfs import PageFile


def page(fill: int) -> bytes:
    return bytes([fill]) * 1_024


def test_take_gives_each_page_once_with_its_last_content():
    file = PageFile([page(1), page(2)])
    file.xWrite(page(3), 0)
    file.xWrite(page(4), 0)
    file.xWrite(page(5), 3 * 1_024)  # leaves a hole before it
    commit = file.take()
    assert commit is not None
    assert list(pages.validate(commit)) == [1, 3, 4]
    assert pages.apply(commit, {1: page(1), 2: page(2)}.get) == {1: page(4), 3: bytes(1_024), 4: page(5)}
    assert file.take() is None


def test_restore_undoes_writes_growth_and_truncation():
    """Broken by: not remembering what xTruncate cuts off."""
    before = [page(1), page(2), page(3), page(4)]
    file = PageFile(list(before))
    file.xWrite(page(9), 1_024)
    file.xWrite(page(9), 6 * 1_024)
    file.xTruncate(2 * 1_024)
    file.xWrite(page(8), 3 * 1_024)
    file.restore()
    assert file.pages == before
    assert file.take() is None


def test_a_page_that_was_cut_and_written_again_is_right_for_the_replica():
    file = PageFile([page(1), page(2), page(3)])
    file.xTruncate(1_024)
    file.xWrite(page(7), 1_024)
    commit = file.take()
    assert commit is not None
    assert pages.page_count(commit) == 2
    assert pages.apply(commit, {1: page(1), 2: page(2), 3: page(3)}.get) == {2: page(7)}


def test_a_shorter_file_alone_is_a_commit():
    file = PageFile([page(1), page(2)])
    file.xTruncate(1_024)
    commit = file.take()
    assert commit is not None
    assert (pages.page_count(commit), len(commit)) == (1, pages.EMPTY_COMMIT_BYTES)


def test_the_number_of_changed_pages_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "commit_pages_max", 3)
    file = PageFile([])
    for n in range(3):
        file.xWrite(page(n), n * 1_024)
    file.xWrite(page(9), 0)
    with pytest.raises(CommitTooLarge):
        file.xWrite(page(9), 3 * 1_024)
    file.restore()
    assert file.pages == []


def test_reads_at_the_end_and_within_a_page():
    file = PageFile([page(1)])
    assert file.xRead(1_024, 0) == page(1)
    assert file.xRead(16, 24) == b"\1" * 16
    assert file.xRead(1_024, 1_024) == b""
    assert PageFile([]).xRead(100, 0) == b""
