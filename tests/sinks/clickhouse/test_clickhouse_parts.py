"""The smaller parts of the sink: pace, freshness, health page, lock, shapes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from sink_world import T0, MemoryTape, World, drain, truncate

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, FieldSpec, Name
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse.arrow import arrow_type, rows_table, stream
from sinks.clickhouse.breaker import LONGEST_S, Breaker, Pace
from sinks.clickhouse.chain import item_of
from sinks.clickhouse.freshness import Freshness
from sinks.clickhouse.health import Health
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.schema import build_schema
from sinks.clickhouse.service import SinkRunning, only_one
from sinks.clickhouse.shape_readings import quantised
from sinks.clickhouse.shapes import shape_alerts, shape_all_that_can, shape_truth
from sinks.clickhouse.sizes import store_status
from sinks.clickhouse.sql import literal, quoted
from sinks.clickhouse.status import report
from sinks.clickhouse.writer import Sink


def away() -> StoreError:
    return StoreError("gone", trouble=Trouble.AWAY)


# ---------------------------------------------------------------- pace


def test_waits_grow_are_jittered_and_bounded() -> None:
    breaker = Breaker()
    waits = [breaker.failed(away(), 0.0) for _ in range(20)]
    assert waits[0] <= 0.1
    assert max(waits) <= LONGEST_S
    assert waits[-1] >= LONGEST_S / 2
    assert len(set(waits)) > 10
    assert breaker.open(1.0)
    assert not breaker.open(LONGEST_S)
    breaker.succeeded()
    assert not breaker.open(0.0)


def test_too_many_parts_are_waited_for() -> None:
    assert Breaker().failed(StoreError("x", trouble=Trouble.MERGING), 0.0) >= 5.0


def test_cuts_shrink_and_grow_as_the_store_needs_it() -> None:
    pace = Pace(1.0)
    assert pace.gap_s == 1.0
    pace.failed(Trouble.MEMORY, 0.0)
    pace.failed(Trouble.MERGING, 0.0)
    assert (pace.flush_s, pace.cut_rows) == (2.0, 50_000)
    pace.succeeded(30.0)
    assert pace.cut_rows == 50_000
    pace.succeeded(61.0)
    assert (pace.flush_s, pace.cut_rows) == (1.0, 100_000)


# ---------------------------------------------------------------- freshness


def test_percentiles_are_right_to_a_twentieth() -> None:
    freshness = Freshness()
    assert freshness.percentile(0.5) is None
    freshness.add(range(1, 10_001))
    for share in (0.5, 0.99):
        got = freshness.percentile(share)
        assert got is not None
        assert abs(got / (share * 10_000) - 1) < 0.05


def test_clocks_apart_do_not_spoil_freshness() -> None:
    freshness = Freshness()
    freshness.add([-5000.0, 0.0, 1e15])
    assert freshness.count == 3


# ---------------------------------------------------------------- health and lock


def test_the_health_page_tells_what_is_wrong() -> None:
    now = [0.0]
    health = Health(CollectorRegistry(), clock=lambda: now[0])
    try:
        assert health.answer("/readyz")[0] == 503
        health.turned({"ready": True, "problems": []})
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}/readyz") as page:
            assert (page.status, json.loads(page.read())) == (200, [])
        health.turned({"ready": False, "problems": [{"what": "x", "remedy": "y"}]})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{health.port}/readyz?x=1")
        assert json.loads(caught.value.read())[0]["remedy"] == "y"
        assert health.answer("/healthz")[0] == 200
        now[0] = 500.0
        assert health.answer("/healthz")[0] == 503
        assert health.answer("/nothing")[0] == 404
        with pytest.raises(ServiceError, match="HEALTH_PORT"):
            Health(CollectorRegistry(), health.port)
    finally:
        health.close()


def test_a_database_has_one_sink(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "d"),
        only_one(tmp_path, "other"),
        pytest.raises(SinkRunning, match="already"),
        only_one(tmp_path, "d"),
    ):
        pass
    with only_one(tmp_path, "d"):
        pass


def test_the_report_says_what_holds_the_sink_up(town: World, migrated: Store) -> None:
    sink = Sink(MemoryTape(town.broker), migrated, town.catalogue, flush_s=0.0)
    sink.start()
    behind = report(sink)
    assert not behind["idle"]
    assert behind["lag"]["accepted"] > 0
    for _ in range(5):
        sink.step()
    done = report(sink)
    assert done["ready"]
    assert done["idle"]
    assert done["rows_by_table"]["frames"] > 0
    assert done["freshness_ms"]["p99"] is not None
    assert done["clock_ms"] == T0 + 180_000
    sink.breaker.failed(away(), 0.0)
    assert report(sink)["problems"][0]["what"] == "gone"


# ---------------------------------------------------------------- shapes


def test_quantising_rounds_half_upwards_and_is_idempotent() -> None:
    values = pa.array([1.25, -1.25, 0.05, None, 12.3, float("nan"), float("inf"), 1e300])
    grid = quantised(values, 1).to_pylist()
    assert grid == [13, -12, 1, None, 123, None, None, None]
    rng = np.random.default_rng(3)
    for decimals in range(7):
        once = np.floor(rng.uniform(-1000, 1000, 2000) * 10.0**decimals + 0.5) / 10.0**decimals
        again = np.array(quantised(pa.array(once), decimals).to_pylist()) / 10.0**decimals
        assert (once == again).all()


def test_a_record_that_makes_us_stumble_is_named_and_the_others_pass() -> None:
    items = [item_of("truth.labels", 0, Record(n, None, b'{"id": "x"}', ())) for n in range(4)]

    def shape(some: object) -> object:
        if any(item.record.offset == 2 for item in some):  # type: ignore[attr-defined]
            raise RuntimeError("a bug")
        return shape_truth(None, some)  # type: ignore[arg-type]

    shaped = shape_all_that_can(shape, items)  # type: ignore[arg-type]
    assert shaped.tables["truth_labels"].num_rows == 3
    assert [lost.offset for lost in shaped.lost] == [2]


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b'{"from_ms": "soon"}'], ids=["empty", "list", "torn", "word"])
def test_a_label_that_is_none_is_named(value: bytes) -> None:
    shaped = shape_truth(None, [item_of("truth.labels", 0, Record(0, None, value, ()))])  # type: ignore[arg-type]
    assert len(shaped.lost) == 1


def test_a_transition_keeps_what_the_columns_do_not_have() -> None:
    headers = (("from", b"T/0/-1/4"), ("part", b"1/1"), ("clock", b"17"), ("fold", b"alert@1"))
    value = b'{"transition": "opened", "transition_no": 1, "city": "440300", "value": 3.5, "extra": [1]}'
    shaped = shape_alerts(None, [item_of("alerts", 0, Record(0, b"a1", value, headers))])  # type: ignore[arg-type]
    (row,) = shaped.tables["alerts"].to_pylist()
    assert (row["alert_id"], row["transition_no"], row["value"], row["offset"]) == ("a1", 1, 3.5, 4)
    assert "extra" in row["data"]


def test_every_column_of_ours_has_an_arrow_type(catalogue: Catalogue) -> None:
    for table in build_schema(catalogue).tables:
        for column in table.columns:
            assert arrow_type(column.type) is not None
    with pytest.raises(ValueError, match="Point"):
        arrow_type("Point")


def test_every_table_gives_back_what_was_put_in(migrated: Store, catalogue: Catalogue) -> None:
    """One row of plausible values into each table, through Arrow, and out again."""
    truncate(migrated)
    for table in build_schema(catalogue).tables:
        if table.name.startswith("catalogue_"):
            continue
        row = {column.name: _example(column.type) for column in table.written}
        body = stream(rows_table(table, [row]))
        migrated.insert(f"`{migrated.database}`.`{table.name}`", list(row), body)
        (back,) = migrated.dicts(f"SELECT * EXCEPT (stored_at) FROM `{migrated.database}`.`{table.name}`")
        for name, value in row.items():
            got = back[name]
            assert _plain(got) == _plain(value), (table.name, name)


def _example(type_: str) -> object:
    kind = arrow_type(type_)
    if pa.types.is_list(kind):
        return [{"partition": 1, "from": 2, "to": 3}] if pa.types.is_struct(kind.value_type) else [1, 2]
    if pa.types.is_map(kind):
        return [("a", 7 if pa.types.is_integer(kind.item_type) else "x")]
    if pa.types.is_timestamp(kind):
        return T0
    if pa.types.is_boolean(kind):
        return True
    if pa.types.is_string(kind):
        return "深圳 'x' \\"
    return 1.5 if pa.types.is_floating(kind) else 7


def _plain(value: object) -> object:
    if hasattr(value, "timestamp"):
        from datetime import UTC

        moment = value if value.tzinfo else value.replace(tzinfo=UTC)  # type: ignore[attr-defined]
        return round(moment.timestamp() * 1000)
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return [tuple(v.values()) if isinstance(v, dict) else v for v in value]
    return value


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["a`b", "A", "", "a b", "1a", "a" * 64, "a;DROP", "a\n"])
def test_only_names_of_ours_become_identifiers(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        quoted(name)


def test_texts_of_people_stay_texts(migrated: Store) -> None:
    text = "it's \\ a `test`; DROP -- x\ty"
    assert migrated.query(f"SELECT {literal(text)}") == [(text,)]


# ---------------------------------------------------------------- the catalogue decides


def test_a_feed_of_an_overlay_comes_out_at_the_far_end(store: Store, catalogue: Catalogue) -> None:
    from dataclasses import replace

    feed = Feed(
        id="noise.level", name=Name(en="Noise", zh="噪声"), device="meter", cadence_s=60, seq="none",
        fields={"laeq_db": FieldSpec(unit="dB", decimals=1), "mode": FieldSpec(type="enum", values=("DAY", "NIGHT"))},
    )  # fmt: skip
    wider = replace(catalogue, feeds={**catalogue.feeds, feed.id: feed}, sha="0" * 64)
    migrate(store, wider)
    world = World(wider)
    world.tick(T0)
    world.frame(feed, "440300", T0 + 1000, laeq_db=[61.24, 61.26, None, 40.0, 40.05])
    world.tick(T0 + 60_000)
    drain(world, store)
    rows = store.query(
        f"SELECT device, seq, laeq_db, mode FROM `{store.database}`.readings_noise_level_v ORDER BY device"
    )
    assert [row[2] for row in rows] == [61.2, 61.3, None, 40.0, 40.1]
    assert [row[3] for row in rows] == ["DAY", "NIGHT", "DAY", "NIGHT", "DAY"]
    assert run_ledger(store).exact
    sizes = store_status(store)
    assert sizes["readings"]["rows"] == 5
    assert {batch["topic"] for batch in sizes["last_batches"]} >= {"accepted", "rollups"}


@pytest.mark.parametrize(("took_s", "gap_s"), [(0.1, 1.0), (0.8, 2.4), (60.0, 10.0)])
def test_a_store_that_is_slow_gets_rows_less_often_and_more_at_once(took_s: float, gap_s: float) -> None:
    pace = Pace(1.0)
    pace.took(took_s)
    assert pace.gap_s == pytest.approx(gap_s)
    pace.took(0.0)
    assert pace.gap_s == 1.0
