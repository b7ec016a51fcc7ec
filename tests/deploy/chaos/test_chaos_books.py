"""The books: what was sent against what is stored; a difference of a single reading is found and named."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from deploy.chaos.books import Books, compare_panes, compare_readings
from deploy.chaos.load import Load, write_faults
from deploy.chaos.undisturbed import undisturbed
from pearlstream.catalogue import load_catalogue
from producers.simulator.fault_tables import FaultTables, read_fault_tables
from producers.simulator.ledger import Ledger
from producers.simulator.run import Simulation

CATALOGUE = load_catalogue()
MINUTES = 6


@pytest.fixture(scope="module")
def books() -> Books:
    """Some minutes of load."""
    plan = Load(3, 300).plan(CATALOGUE)
    made = Books()
    for step in Simulation(replace(plan, cities=plan.cities[:3])).steps():
        if step.clock_ms > plan.start_ms + MINUTES * 60_000:
            break
        made.note(step.frames)
    return made


def test_what_is_stored_once_agrees(books: Books) -> None:
    assert books.produced > 500
    assert len(books.readings()) < books.produced, "some were sent twice"
    assert compare_readings(books, books.readings()) == (0, 0, ())
    assert compare_panes(books, books.panes()) == (0, 0, ())


def test_a_reading_that_is_not_there_is_missing(books: Books) -> None:
    missing, doubled, places = compare_readings(books, books.readings()[1:])
    assert (missing, doubled) == (1, 0)
    assert "1 sent, 0 stored" in places[0]


def test_a_reading_that_is_there_twice_is_doubled(books: Books) -> None:
    stored = books.readings()
    assert compare_readings(books, pl.concat([stored, stored[:1]]))[:2] == (0, 1)


def test_a_reading_that_nobody_sent_is_doubled(books: Books) -> None:
    stored = books.readings()
    strange = stored[:1].with_columns(ts=pl.col("ts") + 1)
    assert compare_readings(books, pl.concat([stored, strange]))[:2] == (0, 1)


def test_one_reading_never_pays_for_another(books: Books) -> None:
    stored = books.readings()
    assert compare_readings(books, pl.concat([stored[1:], stored[1:2]]))[:2] == (1, 1)


def test_a_pane_that_counts_too_few_is_found_though_another_counts_too_many(books: Books) -> None:
    panes = books.panes()
    moved = panes.with_row_index("at").with_columns(
        n=pl.col("n") + pl.when(pl.col("at") == 0).then(1).when(pl.col("at") == 1).then(-1).otherwise(0)
    )
    assert compare_panes(books, moved.drop("at"))[:2] == (1, 1)


def test_the_producers_own_count_must_agree(books: Books) -> None:
    plan = Load(3, 300).plan(CATALOGUE)
    own = Ledger()
    for step in Simulation(replace(plan, cities=plan.cities[:3])).steps():
        if step.clock_ms > plan.start_ms + MINUTES * 60_000:
            break
        own.note(step.frames)
    sent = own.as_json()
    assert books.agree(sent)
    assert not books.agree({**sent, "produced": sent["produced"] + 1})


def test_the_load_has_its_share_of_repeats_and_late_readings_and_the_folds_agree_with_the_books() -> None:
    plan = Load(5, 400).plan(CATALOGUE)
    plain = undisturbed(CATALOGUE, plan, plan.start_ms + MINUTES * 60_000, 6)
    repeats = 1 - len(plain.books.readings()) / plain.books.produced
    assert 0.03 < repeats < 0.08
    assert plain.settled[0] > 50
    assert undisturbed(CATALOGUE, plan, plan.start_ms + MINUTES * 60_000, 6).settled == plain.settled


def test_the_faults_of_the_load_are_those_of_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "faults.toml"
    write_faults(file)
    plan = Load(1, 500).plan(CATALOGUE)
    assert isinstance(plan.faults, FaultTables)
    assert read_fault_tables(file, CATALOGUE.feeds).every == plan.faults.every
