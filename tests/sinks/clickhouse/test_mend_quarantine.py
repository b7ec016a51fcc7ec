"""What was set aside is shown safely, sent again once what was wrong is mended, and counted once however often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sink_world import T0, World, drain

from pearlstream.broker import PartitionReader, admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import PearlstreamError
from pearlstream.fold import Headers
from pearlstream.folds.admit import Admit
from pearlstream.frame import ARROW, JSON, encode_json_columns, frame_headers
from pearlstream.program import Program, compile_catalogue
from pearlstream.settings import Kafka
from pearlstream.store import Store
from pearlstream.topics import ROLES
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend.acts import list_acts
from sinks.clickhouse.mend.findings import Filter, count_findings, discard, list_findings, one_finding
from sinks.clickhouse.mend.redrive import Again, Redriven, outlook, prepare, redrive
from sinks.clickhouse.mend.send import readings_sender

CITY = "440300"
FLOW = "traffic.flow"
RANGE = Filter(reasons=("range",))


def too_strict(catalogue: Catalogue) -> Catalogue:
    """The catalogue with a range for speeds that many a car does not keep to."""
    feed = catalogue.feeds[FLOW]
    fields = {**feed.fields, "speed_kmh": feed.fields["speed_kmh"].model_copy(update={"max": 60.0, "hard": True})}
    return replace(catalogue, feeds={**catalogue.feeds, FLOW: feed.model_copy(update={"fields": fields})})


def play(world: World) -> None:
    """Three frames of five readings, two of which are too fast; all of a gateway's in JSON in the third."""
    feed = world.catalogue.feeds[FLOW]
    world.register(feed, CITY, 5)
    world.tick(T0)
    speeds = [20.0, 90.0, 30.0, 100.0, 40.0]
    for step in range(2):
        world.frame(feed, CITY, T0 + step * 1000, speed_kmh=speeds)
    columns: dict[str, Any] = {"device": ["d0", "d1"], "ts": [T0 + 3000, T0 + 3001], "seq": [2, 2]}
    columns |= {name: [1, 1] for name in feed.fields} | {"speed_kmh": [30, 95]}
    world.send(CITY, encode_json_columns(feed, CITY, columns), frame_headers(feed, JSON, "gw-json", T0, True))
    world.tick(T0 + 10_000)


@pytest.fixture
def strict(catalogue: Catalogue, migrated: Store) -> World:
    world = World(too_strict(catalogue))
    play(world)
    drain(world, migrated)
    return world


def mend(world: World, program: Program) -> None:
    """The worker is started again with the catalogue as it should be."""
    world.catalogue = program.catalogue
    for admit in world.admits:
        admit.fold = Admit(program, world.book, world.broker.count)


def sender(world: World) -> Any:
    def send(partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        record = world.broker.append("readings", partition, key, value, headers)
        world._fold(partition, record)

    return send


def again(world: World, store: Store, program: Program, wanted: Filter = RANGE) -> Redriven:
    frames = list(prepare(store, program, list_findings(store, wanted), world.broker.count))
    return redrive(store, frames, wanted, sender(world), "the range was wrong")


def accepted(store: Store) -> int:
    return int(store.query(f"SELECT count() FROM `{store.database}`.readings_traffic_flow_v")[0][0])


def test_findings_are_listed_and_counted_by_filters(strict: World, migrated: Store) -> None:
    found = list_findings(migrated, RANGE)
    assert [one.rows for one in found] == [(1,), (1, 3), (1, 3)]
    assert [one.gateway for one in found] == ["gw-json", "gw-1", "gw-1"]
    assert count_findings(migrated, RANGE) == [{"reason": "range", "done": "", "findings": 3}]
    assert len(list_findings(migrated, Filter(gateways=("gw-json",)))) == 1
    assert not list_findings(migrated, Filter(reasons=("future",)))
    assert not list_findings(migrated, Filter(since=T0 + 1_000_000))
    assert len(list_findings(migrated, Filter(limit=2))) == 2
    assert one_finding(migrated, found[0].finding) == found[0]
    with pytest.raises(PearlstreamError, match="nothing in quarantine"):
        one_finding(migrated, "no/0/0/1")


def test_only_the_rows_that_were_set_aside_are_sent_again(strict: World, migrated: Store, program: Program) -> None:
    frames = list(prepare(migrated, program, list_findings(migrated, RANGE), strict.broker.count))
    assert [one.refused for one in frames] == ["", "", ""]
    assert [outlook(program, one) for one in frames] == ["", "", ""]
    assert all("sent-ms" not in dict(one.headers) for one in frames)
    assert [dict(one.headers)["content-type"] for one in frames] == [JSON.encode(), ARROW.encode(), ARROW.encode()]


def test_what_is_mended_counts_once_however_often_it_is_sent(strict: World, migrated: Store, program: Program) -> None:
    assert accepted(migrated) == 7
    names = [one.finding for one in list_findings(migrated, RANGE)]
    mend(strict, program)
    assert len(again(strict, migrated, program).sent) == 3
    strict.tick(T0 + 20_000)
    drain(strict, migrated)
    assert accepted(migrated) == 12
    assert run_ledger(migrated).exact
    refused = again(strict, migrated, program, Filter(findings=tuple(names), all=True)).refused
    assert sorted(refused) == sorted(names)
    assert all("sent again before" in why for why in refused.values())
    assert not list_findings(migrated, RANGE)
    assert [one.done for one in list_findings(migrated, replace(RANGE, all=True))] == ["redrive"] * 3


def test_a_redrive_that_died_between_sending_and_noting_counts_once(
    strict: World, migrated: Store, program: Program
) -> None:
    mend(strict, program)
    send = sender(strict)

    def dies(*frame: Any) -> None:
        send(*frame)
        raise KeyboardInterrupt

    frames = list(prepare(migrated, program, list_findings(migrated, RANGE), strict.broker.count))
    with pytest.raises(KeyboardInterrupt):
        redrive(migrated, frames, RANGE, dies)
    assert len(list_findings(migrated, RANGE)) == 3
    assert again(strict, migrated, program).frames == 3
    strict.tick(T0 + 20_000)
    drain(strict, migrated)
    assert accepted(migrated) == 12
    ledger = run_ledger(migrated)
    assert ledger.exact
    assert ledger.totals["duplicate"] == 1
    assert len({act["act"] for act in list_acts(migrated, ["redrive"])}) == 1


def test_what_is_not_mended_comes_back_into_quarantine(strict: World, migrated: Store) -> None:
    still = compile_catalogue(strict.catalogue)
    assert again(strict, migrated, still).frames == 3
    strict.tick(T0 + 20_000)
    drain(strict, migrated)
    assert accepted(migrated) == 7
    assert len(list_findings(migrated, RANGE)) == 3
    assert len(list_findings(migrated, replace(RANGE, all=True))) == 6
    assert run_ledger(migrated).exact


def test_what_is_not_whole_is_refused(strict: World, migrated: Store, program: Program) -> None:
    insert = (
        f"INSERT INTO `{migrated.database}`.quarantine SELECT * REPLACE ({{what}})"
        f" FROM `{migrated.database}`.quarantine AS q WHERE q.offset < 1000 LIMIT 1"
    )
    migrated.command(insert.format(what="offset + 1000 AS offset, length + 100 AS length"))
    migrated.command(insert.format(what="offset + 2000 AS offset, '' AS key"))
    found = [one for one in list_findings(migrated, Filter()) if one.offset >= 1000]
    refused = {one.findings[0]: one.refused for one in prepare(migrated, program, found, 3)}
    assert sorted("bytes were kept" in why for why in refused.values()) == [False, True]
    assert sorted("no key" in why for why in refused.values()) == [False, True]


def test_what_came_long_ago_would_only_be_too_late(strict: World, migrated: Store, program: Program) -> None:
    strict.tick(T0 + 2 * 86_400_000)
    drain(strict, migrated)
    (why,) = {one.refused for one in prepare(migrated, program, list_findings(migrated, RANGE), 3)}
    assert "too_late" in why


def test_what_was_discarded_is_neither_listed_nor_sent(strict: World, migrated: Store, program: Program) -> None:
    found = list_findings(migrated, RANGE)
    assert discard(migrated, found, RANGE, "a test vehicle") == 3
    assert discard(migrated, list_findings(migrated, RANGE), RANGE, "again") == 0
    assert not list_findings(migrated, RANGE)
    kept = list_findings(migrated, replace(RANGE, all=True))
    assert {(one.done, one.why) for one in kept} == {("discard", "a test vehicle")}
    assert {one.refused for one in prepare(migrated, program, kept, 3)} == {"it was discarded"}


def test_a_frame_reaches_the_real_log_with_key_and_headers(embedded_broker: str) -> None:
    kafka = Kafka(bootstrap_servers=embedded_broker, prefix="mend.", partitions=3)
    with admin_client(kafka) as admin:
        ensure_topics(admin, kafka, [ROLES["readings"]])
    one = Again(("x",), 2, b"440300", b"{}", (("content-type", b"application/json"),))
    with readings_sender(kafka) as send:
        send(one.partition, one.key, one.value, one.headers)
    reader = PartitionReader(kafka, "readings", 2)
    (record,) = reader.read()
    reader.close()
    assert (record.key, record.value, record.headers) == (one.key, one.value, one.headers)
