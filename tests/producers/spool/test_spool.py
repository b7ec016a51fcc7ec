"""The spool against a model: nothing that was taken is lost, order is kept, and it never grows beyond its bound."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from producers.spool import segment
from producers.spool.segments import DAMAGED
from producers.spool.spool import Spool, SpoolError, SpoolFull

LIMIT = 4_000
SEGMENT = 300


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test loses power: what is synced is not waited for."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def opened(folder: Path, **options: object) -> Spool:
    """A small spool with small segments."""
    return Spool(folder, **{"limit_bytes": LIMIT, "segment_bytes": SEGMENT, "lock_s": 0, **options})  # type: ignore[arg-type]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def fill(spool: Spool) -> None:
    """Append until it refuses."""
    while True:
        spool.append(bytes(100))


def all_of(spool: Spool) -> list[bytes]:
    """What has not been read."""
    found: list[bytes] = []
    while entries := spool.read(1_000):
        found += [entry.payload for entry in entries]
    return found


class SpoolMachine(RuleBasedStateMachine):
    """Taken, read, acknowledged, crashed, opened again, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.spool = opened(self.folder)
        self.taken: dict[int, bytes] = {}
        self.acknowledged = 0
        self.read = 0

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)

    @rule(payload=st.binary(max_size=600))
    def append(self, payload: bytes) -> None:
        try:
            number = self.spool.append(payload)
        except SpoolFull:
            # Room comes back by whole segments, the last of which may be as long as its last entry.
            waiting = sum(segment.entry_bytes(p) for n, p in self.taken.items() if n > self.acknowledged)
            assert self.acknowledged < max(self.taken)
            assert waiting + SEGMENT + 2 * segment.entry_bytes(bytes(600)) + 20 * segment.HEADER.size > LIMIT
            return
        assert number == max(self.taken, default=0) + 1
        self.taken[number] = payload

    @rule(limit=st.integers(1, 2_000))
    def take_some(self, limit: int) -> None:
        for entry in self.spool.read(limit):
            assert entry.number == self.read + 1
            assert entry.payload == self.taken[entry.number]
            self.read = entry.number

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        self.acknowledged += round((self.read - self.acknowledged) * share)
        self.spool.acknowledge(self.acknowledged)

    @rule()
    def rewind(self) -> None:
        self.spool.rewind()
        self.read = self.acknowledged

    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @rule()
    def close_and_open(self) -> None:
        self.spool.close()
        if not self.spool.waiting:
            assert not segments(self.folder)
        self._again()

    @rule(unfinished=st.binary(max_size=400), share=st.floats(0, 1), lose_mark=st.booleans())
    def crash(self, unfinished: bytes, share: float, lose_mark: bool) -> None:
        """The process dies while it writes an entry, of which any number of bytes has come to the file; what is noted
        of acknowledgements may be older than the rest."""
        image = Path(tempfile.mkdtemp())
        before = {path.name: path.stat().st_size for path in segments(self.folder)}
        try:
            self.spool.append(unfinished)
        except SpoolFull:
            share = 1.0
        shutil.copytree(self.folder, image, dirs_exist_ok=True)
        for path in segments(image):
            least = before.get(path.name, 0)
            os.truncate(path, least + int((path.stat().st_size - least) * min(share, 0.999)))
        if lose_mark:
            (image / "acknowledged").write_bytes(b"")
        self.spool.close()
        shutil.rmtree(self.folder)
        self.folder = image
        self._again()

    def _again(self) -> None:
        self.spool = opened(self.folder)
        last = max(self.taken, default=0)
        found = {entry.number: entry.payload for entry in self.spool.read(1 << 30)}
        wanted = {number: payload for number, payload in self.taken.items() if number > self.acknowledged}
        assert {number: found.get(number) for number in wanted} == wanted, "what was taken is there"
        assert list(found) == sorted(found)
        assert all(self.taken.get(number) == payload for number, payload in found.items()), "and nothing else"
        assert self.spool.waiting == len(found)
        self.acknowledged = min(found, default=last + 1) - 1
        self.spool.rewind()
        self.read = self.acknowledged

    @invariant()
    def bounded(self) -> None:
        on_disk = sum(path.stat().st_size for path in segments(self.folder))
        assert on_disk == self.spool.size_bytes <= LIMIT

    @precondition(lambda self: self.acknowledged == max(self.taken, default=0))
    @invariant()
    def nothing_waits(self) -> None:
        assert self.spool.waiting == 0


TestAgainstTheModel = SpoolMachine.TestCase
TestAgainstTheModel.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_crash_at_any_byte_keeps_what_was_taken_before(tmp_path: Path) -> None:
    spool = opened(tmp_path / "one", segment_bytes=10_000)
    payloads = [bytes([n]) * (n * 7 % 40) for n in range(12)]
    ends = [segment.HEADER.size]
    for payload in payloads:
        spool.append(payload)
        ends.append(segments(tmp_path / "one")[0].stat().st_size)
    whole = segments(tmp_path / "one")[0].read_bytes()
    spool.close()
    for length in range(len(whole) + 1):
        folder = tmp_path / f"cut{length}"
        folder.mkdir()
        (folder / segments(tmp_path / "one")[0].name).write_bytes(whole[:length])
        with opened(folder) as again:
            kept = sum(end <= length for end in ends) - 1
            assert all_of(again) == payloads[: max(0, kept)]
            assert again.append(b"next") == max(0, kept) + 1
            assert all_of(again) == [b"next"]
            assert not list(folder.glob(f"*{DAMAGED}"))
        shutil.rmtree(folder)


def test_any_flipped_bit_costs_one_entry_and_the_file_is_kept(tmp_path: Path, said: io.StringIO) -> None:
    payloads = [bytes([n]) * 9 for n in range(1, 4)]
    with opened(tmp_path / "one") as spool:
        for payload in payloads:
            spool.append(payload)
        source = segments(tmp_path / "one")[0]
        whole = source.read_bytes()
        entry = segment.entry_bytes(payloads[0])
        for bit in range(8 * segment.HEADER.size, 8 * len(whole)):
            folder = tmp_path / "flipped"
            folder.mkdir()
            bad = bytearray(whole)
            bad[bit // 8] ^= 1 << bit % 8
            (folder / source.name).write_bytes(bad)
            hit = (bit // 8 - segment.HEADER.size) // entry
            with opened(folder) as again:
                found = again.read(1 << 20)
                assert [one.payload for one in found] == payloads[:hit] + payloads[hit + 1 :]
                again.acknowledge(again.read_upto)
                assert again.waiting == 0
                again.append(b"after")
                assert all_of(again) == [b"after"]
            kept = list(folder.glob(f"*{DAMAGED}"))
            # The length of the last entry tells a crash from damage; if that bit flips, it looks cut short.
            assert [path.read_bytes() for path in kept] == [bytes(bad)] or (hit == 2 and not kept)
            shutil.rmtree(folder)
    assert "cannot be read and is passed over" in said.getvalue()


def test_what_lies_between_two_segments_and_cannot_be_read_is_named(tmp_path: Path, said: io.StringIO) -> None:
    with opened(tmp_path) as spool:
        for number in range(30):
            spool.append(bytes([number]) * 60)
        first, second, third, *_ = segments(tmp_path)
        second.write_bytes(b"not a segment, but somebody's letter")
        found = [entry.number for entry in spool.read(1 << 20)]
        lost = range(int(second.stem), int(third.stem))
        assert found == [number for number in range(1, 31) if number not in lost]
        spool.acknowledge(spool.read_upto)
        assert spool.waiting == 0
        assert not first.exists()
    assert second.with_name(second.name + DAMAGED).read_bytes().startswith(b"not a segment")
    assert f'"first": {lost[0]}, "last": {lost[-1]}' in said.getvalue()


def test_a_segment_that_lacks_its_end_is_not_passed_over_in_silence(tmp_path: Path, said: io.StringIO) -> None:
    with opened(tmp_path) as spool:
        for number in range(30):
            spool.append(bytes([number]) * 60)
        _, second, third, *_ = segments(tmp_path)
        os.truncate(second, segment.HEADER.size + segment.entry_bytes(bytes(60)))
        lost = range(int(second.stem) + 1, int(third.stem))
        assert [entry.number for entry in spool.read(1 << 20)] == [n for n in range(1, 31) if n not in lost]
    assert f'"first": {lost[0]}, "last": {lost[-1]}' in said.getvalue()


@pytest.mark.parametrize("what", ["empty", "noise", "marks", "zeros", "head of another file", "long", "nobody's"])
def test_foreign_files_harm_nothing(tmp_path: Path, what: str) -> None:
    with opened(tmp_path) as spool:
        spool.append(b"ours")
        ours = segments(tmp_path)[0].read_bytes()
        image = tmp_path / "image"
        shutil.copytree(tmp_path, image)
    header = ours[: segment.HEADER.size]
    content = {
        "empty": b"",
        "noise": os.urandom(5_000),
        "marks": header + segment.MARK * 50_000,
        "zeros": header + bytes(5_000),
        "head of another file": header[:-4] + b"salt" + ours[segment.HEADER.size :],
        "long": header + segment.HEAD.pack(segment.MARK, 0xFFFFFFFF, 7, 1) + b"x" * 100,
        "nobody's": b"",
    }[what]
    name = "notes.txt" if what == "nobody's" else "00000000000000000002.seg"
    (image / name).write_bytes(content)
    with opened(image) as again:
        assert all_of(again) == [b"ours"]
        again.append(b"more")
        assert all_of(again) == [b"more"]
    if what not in ("empty", "nobody's"):
        assert [path.read_bytes() for path in image.glob(f"*{DAMAGED}")] == [content]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path: Path, kind: str) -> None:
    strange = tmp_path / "00000000000000000001.seg"
    if kind == "folder":
        strange.mkdir()
    elif kind == "link":
        (tmp_path / "secret").write_bytes(b"x" * 100)
        strange.symlink_to(tmp_path / "secret")
    else:
        os.mkfifo(strange)
    with opened(tmp_path) as spool:
        assert all_of(spool) == []
        assert spool.append(b"x") == 1
        assert all_of(spool) == [b"x"]
    if kind == "link":
        assert (tmp_path / "secret").read_bytes() == b"x" * 100


def test_a_full_spool_refuses_and_has_room_again_when_something_arrived(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for _ in range(25):
            spool.append(bytes(100))
        with pytest.raises(SpoolFull, match="is full") as full:
            fill(spool)
        assert full.value.remedy
        waiting = spool.waiting
        entries = spool.read(1_000)
        spool.acknowledge(entries[-1].number)
        number = spool.append(b"again")
        assert number == waiting + 1, "what was refused has no number"
        with pytest.raises(SpoolError, match="larger than the whole spool"):
            spool.append(bytes(LIMIT))


def test_a_full_disk_refuses_and_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as spool:
        spool.append(b"one")
        write, room = os.write, [10]

        def short(file: int, data: bytes) -> int:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = write(file, data[: room[0]])
            room[0] -= done
            return done

        monkeypatch.setattr(os, "write", short)
        with pytest.raises(SpoolFull, match="disk") as full:
            spool.append(b"two" * 20)
        assert "PEARLSTREAM_SPOOL__FOLDER" in full.value.remedy
        monkeypatch.undo()
        assert spool.append(b"three") == 2
        assert all_of(spool) == [b"one", b"three"]


def test_a_failed_sync_is_an_error_and_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path, sync_each=True)
    spool.append(b"one")

    def fails(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(SpoolError, match="cannot be synced") as error:
        spool.append(b"two")
    assert not isinstance(error.value, SpoolFull)
    monkeypatch.undo()
    spool.close()


@pytest.mark.parametrize(("sync_each", "at_least"), [(True, 10), (False, 0)])
def test_the_policy_says_when_the_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_each: bool, at_least: int
) -> None:
    spool = opened(tmp_path, sync_each=sync_each, segment_bytes=100_000)
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), fsync(file)))
    for _ in range(10):
        spool.append(b"x")
    assert (len(synced) >= at_least) if sync_each else not synced
    spool.sync()
    assert len(synced) > at_least
    spool.close()


def test_a_segment_that_is_ended_is_synced_before_the_next_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as spool:
        synced: list[int] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), fsync(file)))
        for _ in range(10):
            spool.append(bytes(90))
        *ended, _ = segments(tmp_path)
        assert len(ended) >= 2
        assert {path.stat().st_ino for path in ended} <= set(synced)


def test_a_spool_belongs_to_one_process_and_to_one_place(tmp_path: Path) -> None:
    spool = opened(tmp_path, meant_for="topic A")
    with pytest.raises(Exception, match=r"in use by another process \(pid \d+\)"):
        opened(tmp_path)
    spool.append(b"for A")
    spool.close()
    with pytest.raises(SpoolError, match=r"holds 1 records for another place \('topic A', not 'topic B'\)"):
        opened(tmp_path, meant_for="topic B")
    with opened(tmp_path, meant_for="topic A") as again:
        assert all_of(again) == [b"for A"]
        again.acknowledge(1)
    with opened(tmp_path, meant_for="topic B") as other:
        assert other.append(b"for B") == 2


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be opened") as error:
        opened(tmp_path / "file" / "spool")
    assert "PEARLSTREAM_SPOOL__FOLDER" in error.value.remedy
