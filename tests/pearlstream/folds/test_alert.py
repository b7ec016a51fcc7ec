"""The stage alert: what of the log's rows counts, suppression between rules, exactness, snapshots, crashes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import polars as pl
import pytest

from pearlstream.alerts import alert_id, run_rules
from pearlstream.catalogue import load_catalogue
from pearlstream.catalogue.indicator import Alert
from pearlstream.fold import Output, Record, headers_of
from pearlstream.folds.alert import AlertFold
from pearlstream.indicators import INDICATORS_ARROW, encode_rows
from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.rules import Rules
from pearlstream.testing.simulated import ROUGH, crash_points, run
from pearlstream.testing.world import T0, headers_by_name
from pearlstream.testing.world import run as fold_all

CITY, OTHER = "440300", "440400"
ROAD, AIR = "feed=traffic.flow", "feed=air.quality"
MINUTE = 60_000
STEP = 5 * MINUTE
CATALOGUE = load_catalogue()
PROGRAM = Program(CATALOGUE, {}, ())
JAM, FREE, LOST, WHOLE = 2.5, 1.1, 10.0, 100.0


def alert(raising: str, raise_count: int, clearing: str, clear_count: int, **more: Any) -> Alert:
    """An alert in short: `alert(">= 1.8", 3, "<= 1.6", 6)`."""

    def condition(text: str, count: int) -> dict[str, Any]:
        op, _, value = text.partition(" ")
        return {"op": op, "value": float(value), "count": count}

    pair = {"raise": condition(raising, raise_count), "clear": condition(clearing, clear_count)}
    return Alert.model_validate({"thresholds": [pair], **more})


PLAIN = (
    Rules.of(CATALOGUE)
    .replace("I43a", alert(">= 1.8", 3, "<= 1.6", 6))
    .replace("I41a", alert("< 0.60", 3, ">= 0.68", 3))
    .replace("X09", alert("< 90", 2, ">= 95", 3))
)
"""Rules of the catalogue with thresholds that stay what they are."""
RULES = PLAIN.replace("I43a", suppressed_by=["X09"])
QUICK = RULES.replace("I43a", alert(">= 1.8", 1, "<= 1.6", 1, suppressed_by=["X09"]))
"""Rules under which a jam is told as soon as it is seen."""

Row = tuple[Any, ...]


def row(
    indicator: str, number: int, value: float | None, dims: str = "", maturity: str = "settled",
    known: int | None = None, city: str = CITY, rev: int = 0,
) -> Row:  # fmt: skip
    """The window that ends after `number` steps, known ten seconds later, or at the end `known` plus that."""
    end = T0 + number * STEP
    known_at = T0 + (number if known is None else known) * STEP + 10_001
    state = "NODATA" if value is None else "OK"
    return (
        indicator, city, dims, end - STEP, end, value, state, 1.0, 20, None, None, maturity, rev, known_at, "0", True,
    )  # fmt: skip


def records(batches: Iterable[Sequence[Row]], source: str = "rollups/0") -> list[Record]:
    """One record of `indicators` per batch of rows, as `indicate` writes them: a range of its source each."""
    made: list[Record] = []
    for at, rows in enumerate(batches):
        headers = headers_of({"from": f"{source}/{at - 1}/{at}", "clock": rows[0][13], "fold": "indicate@1"})
        made.append(Record(at, None, encode_rows(rows), headers))
    return made


def by_step(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows by the moment at which they became known."""
    return [[one for one in rows if one[13] == known] for known in sorted({one[13] for one in rows})]


def fold(log: Sequence[Record], rules: Rules = RULES, rng: random.Random | None = None) -> list[Output]:
    return fold_all(AlertFold(PROGRAM, rules), Source("indicators-1", 0), log, rng)


def told(rows: Sequence[Row], rules: Rules = RULES) -> list[tuple[int, str, str, str]]:
    """Window number, rule, dimensions and transition of everything that is said; by both ways, which must agree."""
    outputs = [orjson.loads(output.value) for output in fold(records(by_step(rows)), rules)]
    frame = pl.DataFrame(
        list(rows), schema=pl.Schema(pl.DataFrame(INDICATORS_ARROW.empty_table()).schema), orient="row"
    )
    direct = run_rules(rules, frame.sample(fraction=1.0, shuffle=True, seed=7))
    assert [one.encode() for one in direct] == [orjson.dumps(one) for one in outputs]
    return [((one["window_end_ms"] - T0) // STEP, one["indicator"], one["dims"], one["transition"]) for one in outputs]


def jam(first: int, last: int, **more: Any) -> list[Row]:
    return [row("I43a", number, JAM, **more) for number in range(first, last + 1)]


def test_a_jam_is_told_once_and_its_end_once() -> None:
    rows = jam(1, 5) + [row("I43a", number, FREE) for number in range(6, 13)]
    assert told(rows) == [(3, "I43a", "", "opened"), (11, "I43a", "", "resolved")]


def test_what_a_transition_says() -> None:
    first, second = fold(records(by_step(jam(1, 5) + [row("I43a", n, FREE) for n in range(6, 13)])))
    said = orjson.loads(first.value)
    opened = T0 + 3 * STEP
    assert said == {
        "alert_id": alert_id("pearl.", "I43a", CITY, "", opened),
        "transition": "opened", "transition_no": 0, "indicator": "I43a", "city": CITY, "dims": "",
        "severity": "warning", "sub_item": "4.3", "window_end_ms": opened, "value": JAM,
        "threshold": ">= 1.8 x in 3 windows", "opened_ms": opened, "known_at_ms": opened + 10_001,
        "rules": RULES.version, "sim": True,
    }  # fmt: skip
    assert first.key == said["alert_id"].encode() == second.key
    assert headers_by_name(first) == {
        "from": "indicators-1/0/-1/2", "part": "1/1", "clock": str(opened + 10_001), "fold": "alert@1",
        "catalogue": CATALOGUE.version,
    }  # fmt: skip
    assert headers_by_name(second)["from"] == "indicators-1/0/2/10"
    assert orjson.loads(second.value)["transition_no"] == 1


def test_an_id_is_short_lower_case_and_another_one_in_another_namespace() -> None:
    name = alert_id("pearl.", "I43a", CITY, "", T0)
    assert (len(name), name, name.isalnum()) == (26, name.lower(), True)
    assert name != alert_id("replay.", "I43a", CITY, "", T0)


def test_provisional_rows_change_nothing_and_corrected_ones_only_annul() -> None:
    shown = [row("I43a", number, JAM, maturity="provisional", rev=-1) for number in range(1, 9)]
    assert told(shown) == []
    late = [row("I43a", 2, FREE, maturity="corrected", known=6, rev=1)]
    assert told(jam(1, 5) + late) == [(3, "I43a", "", "opened"), (2, "I43a", "", "annulled")]
    raised = [row("I43a", number, JAM, maturity="corrected", known=9, rev=1) for number in range(1, 6)]
    assert told([row("I43a", number, FREE) for number in range(1, 6)] + raised) == []


def test_a_group_that_is_heard_of_late_opens_no_alert_about_the_past() -> None:
    rows = [row("I41a", number, 0.8, "sector=auto") for number in range(1, 9)]
    late = [row("I41a", number, 0.1, "sector=semicon", known=8) for number in range(1, 7)]
    assert told(rows + late) == []


def test_an_outage_explains_what_looks_like_a_jam() -> None:
    """X09 needs two windows until it is sure and the jam, here, one: what is pending already holds back."""
    outage = [row("X09", n, LOST if 2 <= n <= 9 else WHOLE, ROAD) for n in range(1, 15)]
    looks = [row("I43a", n, JAM if 2 <= n <= 9 else FREE) for n in range(1, 15)]
    assert told(outage + looks, QUICK) == [(3, "X09", ROAD, "opened"), (12, "X09", ROAD, "resolved")]


def test_after_the_outage_what_is_still_true_is_told_with_what_held_it_back() -> None:
    outage = [row("X09", n, LOST if 2 <= n <= 9 else WHOLE, ROAD) for n in range(1, 15)]
    assert told(outage + jam(1, 14))[-2:] == [(12, "X09", ROAD, "resolved"), (12, "I43a", "", "opened")]
    said = orjson.loads(fold(records(by_step(outage + jam(1, 14))))[-1].value)
    assert said["held_back"] == {"since_ms": T0 + 3 * STEP, "by": f"X09 {ROAD}"}


@pytest.mark.parametrize(("dims", "city"), [(AIR, CITY), (ROAD, OTHER)])
def test_an_outage_elsewhere_or_of_another_feed_explains_nothing(dims: str, city: str) -> None:
    outage = [row("X09", n, LOST, dims, city=city) for n in range(1, 9)]
    assert (3, "I43a", "", "opened") in told(outage + jam(1, 8))


def test_one_bad_window_of_the_data_delays_an_alert_by_one_window_only() -> None:
    dip = [row("X09", n, LOST if n == 3 else WHOLE, ROAD) for n in range(1, 9)]
    assert told(dip + jam(1, 8)) == [(4, "I43a", "", "opened")]


def test_a_series_that_ceases_is_stale_judged_by_the_rest_of_its_city() -> None:
    others = [row("X09", n, WHOLE, ROAD) for n in range(1, 16)]
    back = [row("I43a", 13, JAM)]
    assert told(others + jam(1, 5) + back, PLAIN) == [
        (3, "I43a", "", "opened"), (10, "I43a", "", "stale"), (13, "I43a", "", "fresh"),
    ]  # fmt: skip


def test_rules_on_totals_pass_over_groups() -> None:
    rules = PLAIN.replace("I41a", dims="total")
    parts = [row("I41a", n, 0.1, "sector=auto") for n in range(1, 9)]
    assert told(parts, rules) == []
    assert [one[3] for one in told(parts + [row("I41a", n, 0.1) for n in range(1, 9)], rules)] == ["opened"]


def test_repeats_are_skipped_gaps_are_waited_for_and_chains_do_not_mix() -> None:
    log = records(by_step(jam(1, 5) + [row("I43a", number, FREE) for number in range(6, 13)]))
    plain = [output.value for output in fold(log)]
    mixed = [log[0], *log[2:6], log[1], log[3], *log[6:]]
    cluster = records([[row("I43a", 1, JAM, city=OTHER)]], "crossings/0")
    mixed.insert(3, cluster[0])
    assert [output.value for output in fold([r._replace(offset=at) for at, r in enumerate(mixed)])] == plain


def story(seed: int, steps: int = 60) -> list[Record]:
    """Everything that may happen, drawn at random."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for number in range(1, steps):
        calm = rng.random() < 0.5
        values = {("I43a", ""): JAM if not calm else FREE, ("X09", ROAD): LOST if rng.random() < 0.2 else WHOLE}
        for sector in ("auto", "semicon"):
            values["I41a", f"sector={sector}"] = 0.1 if rng.random() < 0.6 else 0.9
        for city in (CITY, OTHER):
            for (indicator, dims), value in values.items():
                if rng.random() < 0.9:
                    rows.append(row(indicator, number, value if rng.random() < 0.9 else None, dims, city=city))
                if rng.random() < 0.2:
                    known = number + rng.randint(1, 9)
                    value = rng.choice((JAM, FREE, 0.1, WHOLE))
                    rows.append(row(indicator, number, value, dims, "corrected", known, city, 1))
    return records(by_step(rows))


def facts(outputs: Sequence[Output | Record]) -> list[tuple[Any, ...]]:
    return [(one.key, one.value, one.headers) for one in outputs]


def test_every_word_is_met_in_the_story() -> None:
    words = {orjson.loads(one.value)["transition"] for seed in range(6) for one in fold(story(seed), QUICK)}
    assert words == {"opened", "resolved", "stale", "fresh", "annulled", "flapping"}


@pytest.mark.parametrize("seed", range(6))
def test_any_cut_and_any_snapshot_give_the_same_bytes(seed: int) -> None:
    log = story(seed)
    assert facts(fold(log, QUICK, random.Random(seed))) == facts(fold(log, QUICK))


def test_every_single_crash_point() -> None:
    log = story(1, 12)
    expected = facts(fold_all(AlertFold(PROGRAM, QUICK), Source("sim", 0), log))
    assert len(expected) > 4
    for sim in crash_points(lambda: AlertFold(PROGRAM, QUICK), log, batch=6):
        assert facts(sim.read("alerts")) == expected


def test_whatever_happens() -> None:
    log = story(2, 30)
    expected = facts(fold_all(AlertFold(PROGRAM, QUICK), Source("sim", 0), log))
    for seed in range(30):
        sim = run(lambda: AlertFold(PROGRAM, QUICK), log, seed=seed, faults=ROUGH._replace(older=0.1), steps=60)
        assert facts(sim.read("alerts")) == expected, sim.trace


def test_a_snapshot_of_other_rules_is_refused() -> None:
    fold_ = AlertFold(PROGRAM, RULES)
    blob = fold_.pack(fold_.start(Source("s", 0)))
    with pytest.raises(ValueError, match="the state is of"):
        AlertFold(PROGRAM, QUICK).unpack(blob)


def test_a_transition_without_a_reason_to_wait_does_not_name_one() -> None:
    assert "held_back" not in orjson.loads(fold(records(by_step(jam(1, 3))))[0].value)
