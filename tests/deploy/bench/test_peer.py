"""The peer: the same readings, one message each, and a table that is held against them."""

from __future__ import annotations

import orjson
import polars as pl
import pytest

from deploy.bench.load import Load, make
from deploy.bench.peer import compare
from deploy.bench.peer.messages import Aggregate, Message, Window, messages, windows
from pearlstream.catalogue import load_catalogue
from pearlstream.fold import Record
from pearlstream.frame import decode

CATALOGUE = load_catalogue()
SMALL = Load(readings=1_200, frame_rows=50, cities=3, devices=60, rate=60.0, partitions=6, disorder=0.05)
MADE = make(SMALL, CATALOGUE)


def test_the_messages_are_the_readings_of_the_frames_in_their_order() -> None:
    frames = [Record(0, one.key, one.value, one.headers) for one in MADE.sent if one.key is not None]
    batches = [decode(frame, CATALOGUE.feeds, CATALOGUE.cities).batch for frame in frames]
    names = ("device", "ts", "flow_vpm")
    columns = [[value for batch in batches for value in batch[name].to_pylist()] for name in names]
    found = list(messages(MADE, CATALOGUE))
    assert [(one.device, one.ts_ms, one.value) for one in found] == list(zip(*columns, strict=True))
    assert len(found) == MADE.total
    assert {one.metric for one in found} == {"traffic.flow.flow_vpm"}


def test_every_feed_has_a_value_to_send() -> None:
    for feed in CATALOGUE.feeds:
        made = make(Load(readings=10, cities=1, devices=5, feeds=(feed,)), CATALOGUE)
        assert sum(1 for _ in messages(made, CATALOGUE)) == made.total


def test_a_message_says_its_time_in_seconds() -> None:
    said = orjson.loads(Message("440300", "d1", "f.x", 1_780_002_000_250, 2.5).encoded())
    assert said == {"city": "440300", "device": "d1", "metric": "f.x", "ts": 1_780_002_000.25, "value": 2.5}


def test_windows_are_what_grouping_by_city_metric_and_ten_seconds_gives() -> None:
    sent = list(messages(MADE, CATALOGUE))
    start = (pl.col("ts_ms") // 10_000 * 10_000).alias("start_ms")
    value = pl.col("value")
    wanted = (
        pl.DataFrame(sent, schema=list(Message._fields), orient="row")
        .group_by("city", "metric", start)
        .agg(pl.len(), value.sum(), value.min().alias("least"), value.max().alias("greatest"))
    )
    expected = {Window(*row[:3]): Aggregate(*row[3:]) for row in wanted.iter_rows()}
    found = windows(sent)
    assert len(found) == 6  # three cities, twenty seconds
    assert found.keys() == expected.keys()
    for window, one in found.items():
        assert one == pytest.approx(expected[window])


LOST = Message("440300", "d1", "f.x", 10_000, 2.0)
SENT = [LOST, Message("440300", "d2", "f.x", 10_500, 4.0), Message("440100", "d3", "f.x", 20_000, 1.0)]


@pytest.mark.parametrize(
    ("held", "off", "wrong_windows"),
    [
        (windows(SENT), 0, 0),
        (windows(SENT[1:]), -1, 1),
        (windows([*SENT, LOST]), 1, 1),
        (windows([*SENT[1:], LOST._replace(value=3.0)]), 0, 1),
        (windows([*SENT[1:], LOST._replace(ts_ms=20_000)]), 0, 2),
        ({}, -3, 2),
    ],
    ids=["right", "one lost", "one doubled", "a wrong value", "the wrong window", "nothing"],
)
def test_a_table_that_is_off_is_found_out(held: dict[Window, Aggregate], off: int, wrong_windows: int) -> None:
    readings, right = compare.count_held(held, SENT)
    assert readings.got - readings.expected == off
    assert right.expected - right.got == wrong_windows


def test_the_peer_counts_what_our_worker_admits_on_the_same_broker() -> None:
    ours, theirs = compare.measure(SMALL, 1, CATALOGUE)
    for figure in (ours, theirs):
        assert [one for one in figure.counted if not one.exact] == []
        assert figure.exact
        (run,) = figure.runs
        assert run.readings == SMALL.readings
        assert run.cpu_s.keys() == figure.peak_rss_mb.keys()
    assert list(ours.runs[0].cpu_s) == ["worker", "broker"]
    assert list(theirs.runs[0].cpu_s) == ["faust-by-the-book", "broker"]
    assert theirs.runs[0].cpu_s["faust-by-the-book"] > 0
