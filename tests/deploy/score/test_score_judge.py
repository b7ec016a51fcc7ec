"""The judge on hand-made runs: every kind of claim, true and false."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from deploy.score.evidence import MINUTE_MS, Episode, Evidence, episodes_of, matches
from deploy.score.judge import Verdict, judge, length_min
from deploy.score.means import SLOT_MS, Means
from deploy.score.mutate import coverage, mutants
from deploy.score.tally import Opening, Sort, Tally, sorted_openings
from pearlstream.alerts import Transition, run_rules
from pearlstream.catalogue import load_catalogue
from pearlstream.catalogue.scenario import Scenario
from pearlstream.rules import Rules
from producers.simulator.labels import Label

START_MS = 1_780_354_800_000
CITY, OTHER = "440300", "441900"
CATALOGUE = load_catalogue()
RULE = "I43a"
NAMES = {"en": "Test", "zh": "试"}
ROWS = pl.DataFrame(
    schema={"indicator": pl.String, "city": pl.String, "dims": pl.String, "window_start_ms": pl.Int64}
    | {"window_end_ms": pl.Int64, "value": pl.Float64, "n": pl.Int64, "numerator": pl.Int64}
    | {"denominator": pl.Int64, "maturity": pl.String, "rev": pl.Int32, "known_at_ms": pl.Int64, "sim": pl.Boolean}
)


def at(minute: float) -> int:
    return START_MS + round(minute * MINUTE_MS)


def alert(opened: float, ended: float | None = None, rule: str = RULE, city: str = CITY, **more: Any) -> Episode:
    closed = None if ended is None else at(ended)
    return Episode(rule, city, more.get("dims", ""), more.get("sub_item", "4.3"), at(opened), closed)


def row(minute: float, value: float, *, city: str = CITY, n: int = 100, rev: int = 0) -> dict[str, Any]:
    end = at(minute)
    return {
        "indicator": RULE, "city": city, "dims": "", "window_start_ms": end - 300_000, "window_end_ms": end,
        "value": value, "n": n, "numerator": n, "denominator": n, "maturity": "corrected" if rev else "settled",
        "rev": rev, "known_at_ms": end + 60_000, "sim": True,
    }  # fmt: skip


def evidence(*episodes: Episode, hours: float = 4, **claim: Any) -> Evidence:
    """A run of a scenario with one claim, if one is given."""
    about = {} if "feed" in claim else {"indicator": RULE}
    truth = [{**about, "cities": [CITY], **claim}] if claim else []
    body = {"id": "SC99", "alias": "test", "name": NAMES, "start": "2026-06-02T07:00:00+08:00", "truth": truth}
    scenario = Scenario.model_validate(body | {"length_s": round(hours * 3600)})
    return Evidence(scenario, 1, START_MS, at(hours * 60), (CITY, OTHER), episodes, ROWS)


def first(run: Evidence) -> Verdict:
    return judge(run, CATALOGUE.indicators)[0]


FIRE: dict[str, Any] = {"must": "fire", "between": [15, 75], "clear_by": 120}


def test_an_alert_in_time_passes_and_its_delay_counts_from_the_earliest_moment() -> None:
    verdict = first(evidence(alert(35, 100), **FIRE))

    assert verdict.passed
    assert verdict.fired
    assert verdict.delays_s == (20 * 60,)


@pytest.mark.parametrize(
    ("episodes", "reason", "fired"),
    [
        pytest.param([], "never opened, wanted 15-75 min", False, id="never"),
        pytest.param([alert(83, 100)], "opened at +83 min, wanted 15-75 min", False, id="late"),
        pytest.param([alert(5, 100)], "opened at +5 min, wanted 15-75 min", False, id="early"),
        pytest.param([alert(35)], "still open, wanted closed by 120 min", True, id="not closed"),
        pytest.param([alert(35, 140)], "closed at +140 min, wanted closed by 120 min", True, id="closed late"),
        pytest.param([alert(35, 100, city=OTHER)], "never opened, wanted 15-75 min", False, id="elsewhere"),
    ],
)
def test_an_alert_that_fails_its_claim_is_told_with_its_time(episodes: list[Episode], reason: str, fired: bool) -> None:
    verdict = first(evidence(*episodes, **FIRE))

    assert (verdict.passed, verdict.reason, verdict.fired) == (False, reason, fired)


def test_an_alert_that_must_stay_open_must_not_close() -> None:
    claim: dict[str, Any] = {"must": "fire", "between": [0, 60], "stays_open": True}

    assert first(evidence(alert(20), **claim)).passed
    assert first(evidence(alert(20, 90), **claim)).reason == "closed at +90 min, wanted to stay open"


def test_a_value_must_reach_what_is_claimed() -> None:
    run = evidence(alert(35, 100), **FIRE, reach=2.5)

    assert first(replace(run, rows=pl.DataFrame([row(40, 2.6)], ROWS.schema))).passed
    assert first(replace(run, rows=pl.DataFrame([row(40, 2.1)], ROWS.schema))).reason == "reached 2.1, wanted 2.5"


def test_a_claim_may_hold_in_some_of_the_cities() -> None:
    claim: dict[str, Any] = {**FIRE, "cities": [CITY, OTHER], "at_least": 1}

    assert first(evidence(alert(35, 100), **claim)).passed
    assert not first(evidence(**claim)).passed


def test_a_daily_claim_is_judged_on_each_day() -> None:
    run = evidence(alert(30, 60), hours=48, **{**FIRE, "daily": True})

    assert [verdict.passed for verdict in judge(run, CATALOGUE.indicators)[:2]] == [True, False]


def test_one_alert_must_come_after_another() -> None:
    claim: dict[str, Any] = {**FIRE, "after": "X01"}

    assert first(evidence(alert(20, rule="X01"), alert(35, 100), **claim)).passed
    assert "before X01 at +50 min" in first(evidence(alert(50, rule="X01"), alert(35, 100), **claim)).reason


def test_dimensions_narrow_a_claim() -> None:
    claim: dict[str, Any] = {**FIRE, "dims": "feed=traffic.flow"}

    assert first(evidence(alert(35, 100, dims="feed=traffic.flow"), **claim)).passed
    assert not first(evidence(alert(35, 100, dims="feed=air.quality"), **claim)).passed
    assert matches("a=1", "a=1,b=2")


def test_what_must_stay_clear_must_not_open() -> None:
    assert first(evidence(must="stay_clear")).passed
    assert first(evidence(alert(20), must="stay_clear")).reason == f"opened at +20 min in {CITY}"
    assert first(evidence(alert(20), must="stay_clear", between=[30, 60])).passed


def test_what_may_fire_is_not_judged() -> None:
    assert len(judge(evidence(alert(20), must="may"), CATALOGUE.indicators)) == len(judge(evidence(), {}))


@pytest.mark.parametrize(
    ("claim", "passes"),
    [
        ({"factor": 1.5}, True),
        ({"factor": 2.5}, False),
        ({"factor": 0.5}, False),
        ({"difference": 5}, True),
        ({"difference": 15}, False),
        ({"difference": -5}, False),
    ],
)
def test_a_mean_must_move_against_the_run_without_the_scenario(claim: dict[str, float], passes: bool) -> None:
    def means(value: float) -> Means:
        return Means({("traffic.flow", "flow_vpm", CITY): {at(10) // SLOT_MS: (value * 4, 4)}})

    run = evidence(must="move", feed="traffic.flow", field="flow_vpm", between=[0, 60], **claim)

    assert first(replace(run, means=means(20), ordinary=means(10))).passed is passes


@pytest.mark.parametrize(("factor", "passes"), [(3.0, True), (5.0, False)])
def test_the_number_of_readings_may_have_to_move_instead_of_their_mean(factor: float, passes: bool) -> None:
    def means(count: int) -> Means:
        return Means({("gov.case", "http_status", CITY): {at(10) // SLOT_MS: (200.0 * count, count)}})

    run = evidence(must="move", feed="gov.case", field="http_status", count=True, between=[0, 60], factor=factor)

    assert first(replace(run, means=means(40), ordinary=means(10))).passed is passes


@pytest.mark.parametrize(("difference", "passes"), [(15, True), (25, False)])
def test_an_indicator_must_move_against_the_run_without_the_scenario(difference: float, passes: bool) -> None:
    run = evidence(must="move", between=[0, 60], difference=difference)
    moved = pl.DataFrame([row(5, 10.0), row(5, 40.0, rev=1), row(10, 60.0), row(90, 0.0)], ROWS.schema)
    ordinary = pl.DataFrame([row(5, 30.0), row(10, 30.0)], ROWS.schema)

    assert first(replace(run, rows=moved, uneventful=ordinary)).passed is passes
    assert "nothing was reported" in first(replace(run, rows=moved)).reason


def test_a_backlog_must_make_the_sums_whole_again() -> None:
    run = evidence(must="same", between=[0, 60])
    whole = pl.DataFrame([row(5, 1.0, n=1000)], ROWS.schema)
    mended = pl.DataFrame([row(5, 1.0, n=400), row(5, 1.0, n=998, rev=1)], ROWS.schema)
    broken = pl.DataFrame([row(5, 1.0, n=400)], ROWS.schema)

    assert first(replace(run, rows=mended, undisturbed=whole)).passed
    assert first(replace(run, rows=broken, undisturbed=whole)).reason.startswith("n adds up to 400, wanted 1000")


def test_alerts_that_flap_or_name_no_sub_item_fail_in_every_scenario() -> None:
    run = evidence(*(alert(10 * n, 10 * n + 5, sub_item="") for n in range(3)))

    flaps, unnamed = judge(run, CATALOGUE.indicators)

    assert (flaps.passed, unnamed.passed) == (False, False)
    assert flaps.reason == f"{RULE} {CITY}: 3"


def test_a_run_lasts_until_its_last_claim_is_decided() -> None:
    assert length_min(evidence(hours=1, **FIRE).scenario) == 120


def test_transitions_become_the_lives_of_alerts() -> None:
    def said(what: str, minute: float) -> Transition:
        return Transition("a", what, 0, RULE, CITY, "", "warning", "4.3", at(minute), 2.0, "", at(20), 0, "r", True)

    assert episodes_of([said("opened", 20), said("stale", 40), said("resolved", 60)]) == [alert(20, 60)]


def sorts(run: Evidence) -> list[Sort]:
    return [opening.sort for opening in sorted_openings(run, CATALOGUE.indicators)]


def test_openings_are_expected_allowed_explained_or_false() -> None:
    assert sorts(evidence(alert(35), **FIRE)) == [Sort.EXPECTED]
    assert sorts(evidence(alert(5), **FIRE)) == [Sort.FALSE]
    assert sorts(evidence(alert(35), must="may")) == [Sort.ALLOWED]

    run = evidence(alert(35, rule="X09", dims="feed=traffic.flow", sub_item="health"))
    outage = Label("gateway_outage", "x", CITY, "traffic.flow", "", at(0), at(20), "")
    assert sorts(run) == [Sort.FALSE]
    assert sorts(replace(run, labels=[outage])) == [Sort.FAULT]
    assert sorts(replace(run, labels=[outage._replace(feed="air.quality")])) == [Sort.FALSE]
    assert sorts(replace(run, labels=[outage._replace(kind="effect")])) == [Sort.FALSE]


def dead(devices: int) -> list[Label]:
    return [Label("dead", f"d{n}", CITY, "traffic.flow", f"d{n}", at(0), at(240), "") for n in range(devices)]


def test_single_devices_explain_a_missing_share_only_if_they_are_enough_of_the_fleet() -> None:
    run = evidence(alert(35, rule="X09", dims="feed=traffic.flow", sub_item="health"))
    run = replace(run, devices={("traffic.flow", CITY): 100, ("traffic.flow", OTHER): 9, ("air.quality", CITY): 9})
    assert sorts(replace(run, labels=dead(4))) == [Sort.FALSE]
    assert sorts(replace(run, labels=dead(5))) == [Sort.FAULT]
    assert sorts(replace(run, labels=dead(4) + dead(4))) == [Sort.FALSE]  # the same devices twice


def test_what_a_fault_explains_breaks_no_claim_about_the_story_and_is_no_flapping() -> None:
    rule = {"rule": "X09", "dims": "feed=traffic.flow", "sub_item": "health"}
    run = evidence(*(alert(20 * n, 20 * n + 9, **rule) for n in range(3)), must="stay_clear", indicator="X09")
    clear, flaps, _ = judge(run, CATALOGUE.indicators)
    assert (clear.passed, flaps.passed) == (False, False)
    clear, flaps, _ = judge(replace(run, labels=dead(1)), CATALOGUE.indicators)
    assert (clear.passed, flaps.passed) == (True, True)


def test_recall_precision_and_false_alerts_a_day_are_counted_over_runs() -> None:
    tally = Tally()
    quiet = evidence(hours=24)
    quiet = replace(quiet, scenario=quiet.scenario.model_copy(update={"id": "SC98"}))
    for run in (evidence(alert(35, 100), alert(20, city=OTHER), **FIRE), quiet):
        openings: list[Opening] = sorted_openings(run, CATALOGUE.indicators)
        tally.add(run, judge(run, CATALOGUE.indicators), openings, 10)

    body = tally.as_json()

    assert (body["recall"], body["precision"]) == (1.0, 0.5)
    assert body["false_per_cluster_day"] == 0  # of the day in which nothing had to fire
    assert body["delay_s"] == {"p50": 1200.0, "p95": 1200.0}


def test_more_false_alerts_than_allowed_on_a_quiet_day_miss_the_goal() -> None:
    run = evidence(*(alert(60 * n, city=f"44030{n}") for n in range(3)), hours=24)
    tally = Tally()
    tally.add(run, [], sorted_openings(run, CATALOGUE.indicators), 0)

    assert tally.missed_goals == ["3.00 false alerts a day in the cluster, at most 2 are allowed"]


def test_mutants_are_noticed_by_the_claims_they_break_and_only_by_those() -> None:
    rules = Rules.of(CATALOGUE)
    pair = rules.by_id[RULE].alert.for_city(CITY)
    high = pair.raise_.value * 1.01
    values = [high if 30 <= minute <= 60 else 0.0 for minute in range(5, 200, 5)]
    rows = pl.DataFrame([row(5 * (n + 1), value) for n, value in enumerate(values)], ROWS.schema)
    run = replace(evidence(must="fire", between=[30, 60]), rows=rows)
    run = replace(run, episodes=episodes_of(run_rules(rules, rows)))

    found = coverage(run, rules, CATALOGUE.indicators)

    higher = [mutant for mutant, _ in mutants(RULE, rules.by_id[RULE].alert) if "raise value" in mutant.change]
    assert {found.noticed[one] for one in higher if float(one.change.split()[-1]) > high} == {True}
    assert {found.noticed[one] for one in found.noticed if "clear" in one.change} == {False}
    assert set(found.untested) == set(rules.by_id) - {RULE}
