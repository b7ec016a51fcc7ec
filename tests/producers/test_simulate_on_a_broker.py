"""The simulator on a real broker: topics, claim, registry, frames and ticks as the contract says."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.chaos.link import Address, Link
from pearlstream.broker import PartitionReader, admin_client, ensure_topics, topic_ids
from pearlstream.catalogue import load_catalogue
from pearlstream.errors import DriverConflict, ServiceError, SettingsError
from pearlstream.fold import Record
from pearlstream.frame import decode, read_tick
from pearlstream.registry import RegistryBook
from pearlstream.settings import Kafka, Settings
from producers.claim import TimeClaim
from producers.kafka_writer import KafkaClaimLog, KafkaWriter
from producers.pacing import Pacer
from producers.simulation import play
from producers.simulator.cli import simulate
from producers.simulator.ledger import Ledger
from producers.simulator.plan import make_plan
from producers.simulator.run import Step, log_steps
from producers.simulator.run import simulate as steps_of


def read(kafka: Kafka, role: str, partition: int = 0) -> list[Record]:
    """All records of a partition."""
    reader = PartitionReader(kafka, role, partition)
    found = [Record(r.offset, r.key, r.value, r.headers, r.timestamp_ms) for r in reader.read()]
    reader.close()
    return found


def test_what_is_played_is_what_the_plan_says(settings: Settings) -> None:
    catalogue = load_catalogue()
    plan = make_plan(catalogue, [("SC02", 0)], duration_ms=60_000)
    played = play(plan, settings, Pacer(plan.start_ms, 0))
    book = RegistryBook(catalogue.feeds)
    versions = [dict(record.headers)["registry"].decode() for record in read(settings.kafka, "devices")]
    book.read((record.value or b"", None) for record in read(settings.kafka, "devices"))
    assert book.last.version == played.registry == versions[-1]

    expected = log_steps(steps_of(plan), settings.kafka.partitions, played.driver)
    produced = 0
    for partition in range(settings.kafka.partitions):
        got = read(settings.kafka, "readings", partition)
        want = expected[partition].records
        assert [(r.key, r.value) for r in got] == [(r.key, r.value) for r in want]
        ticks = [tick for record in got if (tick := read_tick(record)) is not None]
        assert [tick.clock_ms for tick in ticks] == sorted({tick.clock_ms for tick in ticks})
        assert {(tick.driver, tick.registry, tick.sim) for tick in ticks} == {("simulate/1", played.registry, True)}
        assert read_tick(got[0]) is not None
        assert read_tick(got[-1]) is not None
        for record in got:
            if read_tick(record) is None:
                frame = decode(
                    record, catalogue.feeds, catalogue.cities, partition=partition, partitions=settings.kafka.partitions
                )
                assert frame.sim
                assert frame.sent_ms is not None
                produced += frame.batch.num_rows
    assert produced == played.ledger.produced > 4_000
    assert len(read(settings.kafka, "truth.labels")) >= 1


def test_topics_are_made_once_and_another_number_of_partitions_is_refused(settings: Settings) -> None:
    with admin_client(settings.kafka) as admin:
        ids = ensure_topics(admin, settings.kafka)
        assert ensure_topics(admin, settings.kafka) == ids
        assert topic_ids(admin, settings.kafka, ["readings", "devices"]) == {r: ids[r] for r in ("readings", "devices")}
        assert len(set(ids.values())) == len(ids)
        other = settings.kafka.model_copy(update={"partitions": 3})
        with pytest.raises(SettingsError, match=r"has 6 partitions and should have 3"):
            ensure_topics(admin, other)


def test_a_prefix_has_one_driver_at_a_time(settings: Settings) -> None:
    with admin_client(settings.kafka) as admin:
        ensure_topics(admin, settings.kafka)
    log, other = KafkaClaimLog(settings.kafka), KafkaClaimLog(settings.kafka)
    worker, simulator = TimeClaim(log, "worker"), TimeClaim(other, "simulate")
    assert worker.take() == "worker/1"
    with pytest.raises(DriverConflict):
        simulator.take()
    worker.release()
    assert simulator.take() == "simulate/1"
    log.close()
    other.close()


def test_a_send_that_fails_is_said_and_nothing_goes_on_after_it(settings: Settings) -> None:
    with admin_client(settings.kafka) as admin:
        ensure_topics(admin, settings.kafka)
    writer = KafkaWriter(settings.kafka)
    writer._failed("sim.readings[2]", 0, TimeoutError("too slow"))
    with pytest.raises(
        ServiceError, match=r"sim\.readings\[2\] was not acknowledged \(TimeoutError too slow\)"
    ) as error:
        writer.send_frame("440300", b"x", ())
    assert error.value.exit_code == 70
    with pytest.raises(ServiceError, match="above the limit"):
        KafkaWriter(settings.kafka).send_frame("440300", bytes(1_000_001), ())
    writer.close()


def test_a_stopped_run_ends_with_a_tick_and_gives_time_up(settings: Settings) -> None:
    plan = make_plan(load_catalogue(), [("SC02", 0)])
    pacer = Pacer(plan.start_ms, 20)
    threading.Timer(1.0, pacer.stop.set).start()
    played = play(plan, settings, pacer)
    assert played.stopped
    last = read(settings.kafka, "readings", 0)[-1]
    tick = read_tick(last)
    assert tick is not None
    assert tick.clock_ms == played.ledger.last_clock_ms < plan.end_ms
    assert json.loads(read(settings.kafka, "state.clock")[-1].value or b"")["released"]


def test_a_run_that_is_stopped_without_its_broker_keeps_the_rest_for_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.spool.writer.STOP_S", 0.5)
    host, port = settings.kafka.bootstrap_servers.split(":")
    link = Link([Address(host, int(port))])
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": link.address})
    plan = make_plan(load_catalogue(), [("SC02", 0)], rate=30, faults=False)
    pacer = Pacer(plan.start_ms, 20)

    def cut_then_stop(step: Step, _ledger: Ledger, _behind_s: float) -> None:
        if step.clock_ms == plan.start_ms + 30_000:
            link.cut()
        elif step.clock_ms >= plan.start_ms + 60_000:
            pacer.stop.set()

    away = play(plan, settings.model_copy(update={"kafka": kafka}), pacer, progress=cut_then_stop)
    link.close()
    assert away.stopped
    assert away.kept > 6 * settings.kafka.partitions, "frames, and the ticks of six steps"

    later = make_plan(load_catalogue(), [("SC02", 0)], start_ms=plan.start_ms + 600_000, duration_ms=5_000, rate=30)
    assert play(later, settings, Pacer(later.start_ms, 60)).kept == 0
    expected = log_steps(itertools.takewhile(lambda step: step.clock_ms <= plan.start_ms + 60_000, steps_of(plan)), 6)
    for partition, log in expected.items():
        got = dict.fromkeys(
            (r.key, r.value, dict(r.headers).get("clock")) for r in read(settings.kafka, "readings", partition)
        )
        want = [(r.key, r.value, dict(r.headers).get("clock")) for r in log.records]
        assert list(got)[: len(want)] == want


def test_the_command_plays_and_writes_its_ledger(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    options = ["--scenario", "rush", "--duration", "10s", "--speed", "max", "--rate", "50", "--ledger", str(ledger)]
    result = CliRunner().invoke(simulate, options)
    assert result.exit_code == 0, result.output
    books = json.loads(ledger.read_text("utf-8"))
    assert books["scenarios"] == ["SC02"]
    assert books["produced"] == sum(feed["produced"] for feed in books["feeds"].values()) > 300
    sent = 0
    for partition in range(settings.kafka.partitions):
        sent += sum(read_tick(record) is None for record in read(settings.kafka, "readings", partition))
    assert sent == books["frames"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--duration"),
        (["--scenario", "SC02", "--start", "2026-06-02T06:45:00"], "has no offset"),
        (["--scenario", "SC02", "--city", "999999"], "no city '999999'"),
        (["--scenario", "SC02", "--duration", "soon"], "no duration"),
    ],
    ids=["nothing said", "no offset", "unknown city", "no duration"],
)
def test_wrong_options_are_usage_errors(settings: Settings, options: list[str], said: str) -> None:
    result = CliRunner().invoke(simulate, options)
    assert result.exit_code == 2
    assert said in result.output
