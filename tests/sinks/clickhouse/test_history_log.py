"""The log of an act: the same cuts however often it is made, and a stretch for each day of its clock."""

from __future__ import annotations

from typing import Any

import pytest
from history_world import CITY, DAY_MS, START, file_of, history_of, lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pearlstream.program import Program
from sinks.clickhouse.chain import Item
from sinks.clickhouse.history import log
from sinks.clickhouse.history.log import Cut, cuts, source_of

NIGHT = START + 23 * 3_600_000
ACT = 42


@pytest.fixture(scope="module")
def records(program: Program, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Frames and ticks of three nights, of which the second is missing."""
    rows = lines(NIGHT, 2) + lines(NIGHT + 2 * DAY_MS, 1)
    with history_of(program, file_of(tmp_path_factory.mktemp("files"), rows)) as history:
        return list(history.records(history.days()))


def made(program: Program, records: list[Any], rows: int, batch: int) -> list[Cut]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "CUT_ROWS", rows)
        patch.setattr(log, "BATCH", batch)
        return list(cuts(program, ACT, records))


def facts(items: list[Item]) -> list[tuple[Any, ...]]:
    return [(one.role, one.record.offset, one.record.value, dict(one.facts)) for one in items]


def every(found: list[Cut], role: str) -> list[Item]:
    return [item for cut in found for item in getattr(cut, role)]


def test_a_stretch_is_a_day_and_ends_with_a_tick(program: Program, records: list[Any]) -> None:
    found = made(program, records, 100_000, 500)
    first = START // DAY_MS * DAY_MS
    assert [(cut.number, cut.stretch, cut.day - first, cut.last) for cut in found] == [
        (1, 0, 0, True), (2, 1, DAY_MS, True), (3, 2, 2 * DAY_MS, True),
    ]  # fmt: skip
    assert [sum(int(item.facts["accepted"]) for item in cut.accepted) for cut in found] == [24, 24, 24]
    for cut in found:
        assert cut.rollups[-1].record.offset > cut.accepted[-1].record.offset
        assert all(item.position and item.position.source == source_of(ACT) for item in cut.accepted)
    assert {item.facts["city"] for cut in found for item in cut.accepted} == {CITY}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 80), batch=st.integers(1, 60))
def test_what_is_cut_does_not_depend_on_batches_and_nothing_is_left_out(
    program: Program, records: list[Any], rows: int, batch: int
) -> None:
    found, once_more = made(program, records, rows, batch), made(program, records, rows, 500)
    assert [(c.number, c.stretch, c.last) for c in found] == [(c.number, c.stretch, c.last) for c in once_more]
    for one, other in zip(found, once_more, strict=True):
        assert facts(one.accepted) == facts(other.accepted)
        assert facts(one.rollups) == facts(other.rollups)
    whole = made(program, records, 100_000, 500)
    for role in ("accepted", "rollups", "quarantine"):
        assert facts(every(found, role)) == facts(every(whole, role))
    assert [cut.stretch for cut in found if cut.last] == [0, 1, 2]
