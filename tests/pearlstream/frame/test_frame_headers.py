"""What stands on the outside of a record: schema versions, ticks, headers, and the partition of a key."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from frame_builders import CLOCK_MS, GOOD, PROBE, arrow, record, taken
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import DefaultPartitioner, murmur2

from pearlstream.errors import FrameError
from pearlstream.fold import Record
from pearlstream.frame import (
    ARROW,
    SchemaVersion,
    Tick,
    expected_partition,
    frame_headers,
    read_tick,
    tick_record,
)
from pearlstream.frame import partition as ours
from pearlstream.seal import Seal

TICK = Tick(CLOCK_MS, "worker-1/7", "0a1b2c3d", sim=True)


def tick(**headers: str) -> Record:
    """A record with no key, no bytes and these headers."""
    return Record(0, None, b"", tuple((name, text.encode()) for name, text in headers.items()))


def test_a_schema_version_reads_as_it_is_written() -> None:
    assert SchemaVersion.parse("traffic.flow@1") == ("traffic.flow", 1)
    assert str(SchemaVersion("traffic.flow", 12)) == "traffic.flow@12"


@pytest.mark.parametrize(
    "text", ["", "traffic.flow", "traffic.flow@", "@1", "Traffic.flow@1", "a@0", "a@01", "a@1 ", "a@1\n"]
)
def test_what_has_another_form_is_no_schema_version(text: str) -> None:
    with pytest.raises(ValueError, match="not a schema version"):
        SchemaVersion.parse(text)


@pytest.mark.parametrize("given", [TICK, Tick(0), TICK._replace(sim=False)])
def test_a_tick_reads_as_it_was_written(given: Tick) -> None:
    assert read_tick(Record(5, *tick_record(given))) == given


def test_only_a_null_key_zero_bytes_and_the_header_clock_make_a_tick() -> None:
    key, value, headers = tick_record(TICK)
    assert read_tick(Record(0, b"440300", value, headers)) is None
    assert read_tick(Record(0, key, b"x", headers)) is None
    assert read_tick(Record(0, key, None, headers)) is None
    assert read_tick(Record(0, key, value, headers[1:])) is None


def test_the_first_of_a_repeated_header_counts() -> None:
    headers = (("clock", b"5"), ("registry", b"00000000"), ("clock", b"6"), ("registry", b"?"))
    assert read_tick(Record(0, None, b"", headers)) == Tick(5)


@pytest.mark.parametrize(
    "headers",
    [
        {"clock": "", "registry": "00000000"},
        {"clock": "-1", "registry": "00000000"},
        {"clock": "1e3", "registry": "00000000"},
        {"clock": "٣", "registry": "00000000"},
        {"clock": "253402300800000", "registry": "00000000"},
        {"clock": "9" * 5000, "registry": "00000000"},
        {"clock": "5"},
        {"clock": "5", "registry": "0000000G"},
        {"clock": "5", "registry": "0000000"},
        {"clock": "5", "registry": "00000000", "driver": "a b"},
    ],
)
def test_a_malformed_tick_is_refused_before_it_moves_time(headers: dict[str, str]) -> None:
    with pytest.raises(FrameError) as caught:
        read_tick(tick(**headers))
    assert caught.value.reason == "tick_malformed"
    assert caught.value.remedy


def test_a_tick_that_speaks_to_faust_is_refused() -> None:
    with pytest.raises(FrameError, match="faust-ag-replyto"):
        read_tick(tick(**{"clock": "5", "registry": "00000000", "faust-ag-replyto": "x"}))


SEAL = Seal((b"k" * 16,), "pearl.")


def test_a_sealed_tick_is_read_by_all_and_believed_by_those_who_know_the_key() -> None:
    sealed = Record(0, *tick_record(TICK, SEAL))
    assert read_tick(sealed) == TICK
    assert read_tick(sealed, SEAL) == TICK
    assert read_tick(sealed, Seal((b"n" * 16, *SEAL.keys), "pearl.")) == TICK


@pytest.mark.parametrize(
    "seal",
    [Seal(), Seal((b"x" * 16,), "pearl."), Seal(SEAL.keys, "other.")],
    ids=["no seal", "another key", "another pipeline"],
)
def test_the_tick_of_a_stranger_is_refused(seal: Seal) -> None:
    with pytest.raises(FrameError) as caught:
        read_tick(Record(0, *tick_record(TICK, seal)), SEAL)
    assert caught.value.reason == "tick_forged"
    assert "CLOCK_KEY" in caught.value.remedy


@pytest.mark.parametrize("changed", ["clock", "driver", "registry", "sim"])
def test_nothing_of_a_sealed_tick_can_be_changed(changed: str) -> None:
    key, value, headers = tick_record(TICK, SEAL)
    other = {"clock": b"%d" % (CLOCK_MS + 1), "driver": b"worker-2/7", "registry": b"0a1b2c3e", "sim": b"0"}
    forged = tuple((name, other[name] if name == changed else said) for name, said in headers)
    with pytest.raises(FrameError) as caught:
        read_tick(Record(0, key, value, forged), SEAL)
    assert caught.value.reason == "tick_forged"


def test_no_key_shows_in_what_is_printed() -> None:
    assert "kkkk" not in repr(SEAL)


def test_frame_headers_are_read_back() -> None:
    headers = frame_headers(PROBE, ARROW, "gw-1", 17, sim=True, boot="b-7")
    decoded = taken(Record(0, b"440300", arrow(GOOD), headers))
    assert (decoded.feed, decoded.city, decoded.gateway) == (PROBE, "440300", "gw-1")
    assert (decoded.sent_ms, decoded.boot, decoded.sim) == (17, "b-7", True)
    plain = taken(Record(0, b"440300", arrow(GOOD), frame_headers(PROBE, ARROW, "gw-1", None, sim=False)))
    assert (plain.sent_ms, plain.boot, plain.sim) == (None, None, False)


@pytest.mark.parametrize("name", ["gateway", "boot"])
def test_headers_are_not_written_with_what_is_no_id(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        frame_headers(PROBE, ARROW, **{"gateway": "gw-1", "sent_ms": 1, "sim": False, name: "a b"})


def test_a_wrong_label_is_dropped_and_said_but_costs_no_reading() -> None:
    decoded = taken(record(arrow(GOOD), ARROW, gateway="<b>", boot="x" * 65, sent_ms="soon"))
    assert decoded.batch.to_pydict() == GOOD
    assert (decoded.gateway, decoded.boot, decoded.sent_ms) == ("", None, None)
    assert [note.split(":")[0] for note in decoded.notes] == ["header gateway", "header boot"]


class Cluster(NamedTuple):
    """What Kafka's partitioner wants to know of a cluster."""

    partitions: int

    def topics(self) -> set[str]:
        return {"t"}

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.partitions))

    available_partitions_for_topic = partitions_for_topic


@given(st.binary(max_size=40), st.integers(1, 64))
def test_a_key_belongs_where_kafkas_own_clients_put_it(key: bytes, partitions: int) -> None:
    assert ours.murmur2(key) == murmur2(key) & 0xFFFFFFFF
    assert expected_partition(key, partitions) == DefaultPartitioner().partition(
        "t", key, key, b"", b"", Cluster(partitions)
    )


def test_a_frame_in_its_partition_is_taken() -> None:
    place = expected_partition(b"440300", 6)
    assert taken(record(arrow(GOOD), ARROW), partition=place, partitions=6).exact
