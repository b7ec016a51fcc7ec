"""Snapshots as records, and back."""

from __future__ import annotations

import pytest

from pearlstream.fold import Record
from pearlstream.position import Source
from pearlstream.runner import Snapshot
from pearlstream.snapshot import Maker, StateRecord, encode, find

MAKER = Maker("admit@1", "00c0ffee")
SOURCE = Source("life", 3)
BLOB = bytes(range(100))


def stored(*records: StateRecord, compacted: bool = False) -> list[Record]:
    """The state topic with these records, as a compacting broker may leave it."""
    log = [Record(at, *record) for at, record in enumerate(records)]
    return list({record.key: record for record in log}.values()) if compacted else log


def snapshot(applied: int, blob: bytes = BLOB) -> Snapshot:
    return Snapshot(applied, blob, {"accepted": applied, "rollups": applied - 1})


@pytest.mark.parametrize("part_bytes", [1000, 40, 1])
def test_a_snapshot_comes_back_whole(part_bytes: int) -> None:
    records = encode(MAKER, SOURCE, snapshot(7), "a", part_bytes)
    found, ignored = find(stored(*records), MAKER, SOURCE)
    assert [one.snapshot for one in found] == [snapshot(7)]
    assert ignored == 0
    assert all(len(record.value) <= part_bytes for record in records)


def test_a_small_one_stands_under_the_sources_own_key() -> None:
    (record,) = encode(MAKER, SOURCE, snapshot(7), "b")
    assert record.key == b"life/3"


def test_the_newest_comes_first_whatever_order_they_were_written_in() -> None:
    records = [*encode(MAKER, SOURCE, snapshot(9), "a", 30), *encode(MAKER, SOURCE, snapshot(4), "b", 30)]
    found, _ = find(stored(*records), MAKER, SOURCE)
    assert [one.snapshot.applied for one in found] == [9, 4]
    assert [one.turn for one in found] == ["a", "b"]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_one_with_a_part_missing_does_not_count_and_the_one_before_does(missing: int) -> None:
    torn = encode(MAKER, SOURCE, snapshot(9), "b", 30)
    del torn[missing]
    records = stored(*encode(MAKER, SOURCE, snapshot(4), "a", 30), *torn, compacted=True)
    found, ignored = find(records, MAKER, SOURCE)
    assert [one.snapshot.applied for one in found] == [4]
    assert ignored == 1


def test_one_whose_bytes_changed_does_not_count() -> None:
    (record,) = encode(MAKER, SOURCE, snapshot(9), "a")
    assert find(stored(record._replace(value=record.value[:-1])), MAKER, SOURCE) == ([], 1)


@pytest.mark.parametrize("maker", [Maker("admit@2", MAKER.catalogue), Maker("admit@1", "deadbeef")])
def test_one_of_another_version_or_catalogue_is_ignored(maker: Maker) -> None:
    assert find(stored(*encode(maker, SOURCE, snapshot(9), "a")), MAKER, SOURCE) == ([], 1)


@pytest.mark.parametrize("source", [Source("other-life", 3), Source("life", 2), Source("life", 33)])
def test_one_of_another_source_is_none_of_ours(source: Source) -> None:
    assert find(stored(*encode(MAKER, source, snapshot(9), "a")), MAKER, SOURCE) == ([], 0)


@pytest.mark.parametrize(
    "record",
    [
        StateRecord(b"life/3", b"", ()),
        StateRecord(b"life/3", b"x", (("fold", b"admit@1"), ("catalogue", b"00c0ffee"), ("applied", b"x"))),
        StateRecord(b"\xff", b"", ()),
    ],
)
def test_rubbish_in_the_state_topic_is_survived(record: StateRecord) -> None:
    found, _ = find([Record(0, *record), Record(1, None, None, ())], MAKER, SOURCE)
    assert found == []
