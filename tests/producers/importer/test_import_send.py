"""An import on a real broker: its own prefix, its own time, and nothing live touched."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from importer_kit import Kit, kit_mapping, minutes

from pearlstream.broker import PartitionReader
from pearlstream.errors import DriverConflict, SettingsError
from pearlstream.fold import header
from pearlstream.frame import read_tick
from pearlstream.registry import RegistryBook
from pearlstream.settings import Kafka, Settings
from producers.claim import TimeClaim, read_claim
from producers.importer import Import, PrefixRefused, parse_mapping, resolve
from producers.importer.send import database_for, kafka_for, prefix_for, send
from producers.importer.steps import logs_of
from producers.kafka_writer import KafkaClaimLog


@pytest.fixture
def kafka(embedded_broker: str) -> Kafka:
    """The broker under a prefix of the test's own."""
    return Kafka(bootstrap_servers=embedded_broker, prefix=f"import.t{uuid.uuid4().hex[:8]}.", partitions=3)


@pytest.fixture
def job(kit: Kit) -> Iterator[Import]:
    """Ninety readings of one device, prepared."""
    with open_job(kit, minutes(["20"] * 90)) as made:
        yield made


def open_job(kit: Kit, text: str) -> Import:
    made = Import(resolve(parse_mapping(kit_mapping()), kit.program.catalogue), kit.program)
    made.__enter__()
    made.prepare(kit.files({"a.csv": text}))
    return made


def records(kafka: Kafka, role: str, partition: int = 0) -> list[object]:
    reader = PartitionReader(kafka, role, partition)
    found = list(reader.read())
    reader.close()
    return found


def test_what_is_sent_is_what_the_folds_would_have_got_in_process(kafka: Kafka, job: Import):
    sent = send(job, kafka)
    assert (sent.readings, sent.driver) == (90, "import/1")
    wanted = logs_of(job.steps(), sent.registry, 3, sent.driver)
    for partition, log in enumerate(wanted):
        found = records(kafka, "readings", partition)
        assert [(r.key, r.value, read_tick(r) if r.key is None else None) for r in found] == [  # type: ignore[attr-defined]
            (r.key, r.value, read_tick(r) if r.key is None else None) for r in log.records
        ]
    assert sent.clock_ms == max(step.clock_ms for step in job.steps())


def test_devices_are_registered_under_the_version_that_ticks_name(kafka: Kafka, job: Import):
    sent = send(job, kafka)
    book = RegistryBook(job.program.catalogue.feeds)
    book.read((r.value, header(r.headers, "registry")) for r in records(kafka, "devices"))  # type: ignore[attr-defined]
    devices = book.at(sent.registry).devices("test.kit", "XX-A")
    assert devices is not None
    assert devices["device"].to_list() == ["d1"]
    assert devices["origin"].to_list() == ["csv"]


def test_time_is_claimed_and_given_up(kafka: Kafka, job: Import):
    sent = send(job, kafka)
    claims = [read_claim(record) for record in records(kafka, "state.clock")]  # type: ignore[arg-type]
    assert claims[0] is not None
    assert claims[-1] is not None
    assert (claims[0].role, claims[0].released) == ("import", False)
    assert (claims[-1].last_tick_ms, claims[-1].released) == (sent.clock_ms, True)


def test_whoever_drives_time_already_is_respected(kafka: Kafka, job: Import):
    from pearlstream.broker import admin_client, ensure_topics

    with admin_client(kafka) as admin:
        ensure_topics(admin, kafka)
    log = KafkaClaimLog(kafka)
    TimeClaim(log, "simulate").take()
    log.close()
    with pytest.raises(DriverConflict, match="simulate/1 drives time"):
        send(job, kafka)


def test_the_same_time_cannot_be_imported_twice_under_one_prefix(kafka: Kafka, job: Import):
    send(job, kafka)
    with pytest.raises(PrefixRefused, match="already holds this time") as error:
        send(job, kafka)
    assert "--prefix import.kit-2." in error.value.remedy


def test_a_later_file_continues_the_log(kafka: Kafka, job: Import, kit: Kit):
    first = send(job, kafka)
    with open_job(kit, minutes(["20"] * 90).replace("2016-01-01", "2016-01-02").replace(",d1,", ",d2,")) as later:
        second = send(later, kafka)
    assert second.driver == "import/2"
    assert second.clock_ms > first.clock_ms
    book = RegistryBook(job.program.catalogue.feeds)
    book.read((r.value, header(r.headers, "registry")) for r in records(kafka, "devices"))  # type: ignore[attr-defined]
    devices = book.at(second.registry).devices("test.kit", "XX-A")
    assert devices is not None
    assert devices["device"].to_list() == ["d1", "d2"]


# ------------------------------------------------------------------ prefixes and databases


def settings(prefix: str = "pearl.", database: str = "pearlstream") -> Settings:
    return Settings.model_validate({"kafka": {"prefix": prefix}, "clickhouse": {"database": database}})


def test_an_import_has_a_prefix_and_a_database_of_its_own():
    mapping = parse_mapping(kit_mapping(name="my-data"))
    assert prefix_for(mapping, settings(), None) == "import.my-data."
    assert prefix_for(mapping, settings(), "other.") == "other."
    assert prefix_for(mapping, settings("import.my-data."), None) == "import.my-data."
    assert database_for("import.my-data.", settings()) == "pearlstream_my_data"
    assert database_for("import.my-data-2.", settings()) == "pearlstream_my_data_2"
    assert database_for("import.my-data.", settings(database="mine")) == "mine"


@pytest.mark.parametrize(("live", "given"), [("pearl.", "pearl."), ("city.", "city."), ("city.", "pearl.")])
def test_the_live_prefix_is_refused(live: str, given: str):
    with pytest.raises(PrefixRefused, match="live prefix") as error:
        prefix_for(parse_mapping(kit_mapping()), settings(live), given)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("given", ["", "My Data", "x" * 41])
def test_what_is_no_prefix_is_refused(given: str):
    with pytest.raises(PrefixRefused, match="is no prefix"):
        prefix_for(parse_mapping(kit_mapping()), settings(), given)


def test_without_a_broker_the_remedy_names_what_needs_none(tmp_path: Path):
    del tmp_path
    with pytest.raises(SettingsError) as error:
        kafka_for(settings(), "import.x.")
    assert "--dry-run" in error.value.remedy
