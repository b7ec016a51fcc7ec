"""A record comes out of a spool as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.spool.record import pack, unpack
from producers.writer import DEVICES, FRAMES, LABELS, Outgoing

records = st.builds(
    Outgoing,
    role=st.sampled_from([FRAMES, DEVICES, LABELS]),
    key=st.none() | st.binary(max_size=20),
    value=st.binary(max_size=200),
    headers=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=30)), max_size=6).map(tuple),
    partition=st.integers(0, 511),
)


@given(record=records)
def test_what_is_packed_is_unpacked(record: Outgoing) -> None:
    assert unpack(pack(record)) == record


@given(record=records, data=st.data())
def test_what_is_cut_short_is_no_record(record: Outgoing, data: st.DataObject) -> None:
    packed = pack(record)
    with pytest.raises(ValueError, match=r"no record|another length"):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_another_role_is_no_record() -> None:
    with pytest.raises(ValueError, match="no record"):
        unpack(b"\x09" + pack(Outgoing(FRAMES, None, b"", (), 0))[1:])
