"""The spool: a queue on disk, bounded, whose entries stay until somebody says that they have arrived.

    append      puts an entry at the end; when it returns, the entry survives the death of the process
    read        gives entries in their order, each once
    acknowledge lets go of entries that have arrived
    rewind      lets `read` begin again with the first that was not acknowledged

A spool that is opened again begins there, too. What was read and acknowledged shortly before a crash may come again;
what was appended and not acknowledged always does. Nothing is dropped to make room: a full spool refuses.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pearlstream.errors import ServiceError
from pearlstream.lock import FolderLock
from pearlstream.logs import get_logger
from producers.spool.mark import AcknowledgedMark, read_label, sync_folder, write_label
from producers.spool.segment import HEADER, LARGEST, Entry, SegmentReader, SegmentWriter, entry_bytes
from producers.spool.segments import Segments

log = get_logger(__name__)

SEGMENT_BYTES = 16 << 20
"""A segment that is longer is ended. Room comes back by whole segments."""
LOCK_S = 10.0
"""How long another process may take to let go of the folder: a driver of time that was replaced takes seconds."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class SpoolError(ServiceError):
    """The spool cannot be opened, read or written."""


class SpoolFull(SpoolError):
    """There is no room for an entry, in the spool or on the disk; what is in it stays."""


class Spool:
    """A spool in a folder, which belongs to one process at a time. Use from any thread.

    `limit_bytes`: it takes no more room than that. `sync_each`: an entry also survives the machine's loss of power
    when `append` returns; otherwise it does after the next `sync`. `meant_for`: where its entries are to go; what is
    left of another one is never sent there. Raises SpoolError.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        sync_each: bool = False,
        meant_for: str = "",
        segment_bytes: int = SEGMENT_BYTES,
        lock_s: float = LOCK_S,
    ) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._sync_each, self._segment_bytes = sync_each, min(segment_bytes, max(1, limit_bytes // 8))
        self._changed = threading.Condition()
        self._next = 1
        """Number of the next entry; those up to `_acknowledged` have arrived, those up to `_read` were read."""
        self._acknowledged = self._read = 0
        self._writer: SegmentWriter | None = None
        self._reader: SegmentReader | None = None
        self._unsynced_names = False
        self._closed = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FolderLock(
                folder / "lock", what=f"the spool {folder}", remedy="end that process first", patience_s=lock_s
            )
            self._mark = AcknowledgedMark(folder / "acknowledged")
            self._open()
            self._label(meant_for)
        except OSError as error:
            raise self._failed("be opened", error) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    # --- what it holds ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Entries that are not acknowledged."""
        return self._next - 1 - self._acknowledged

    @property
    def size_bytes(self) -> int:
        """What its segments take on disk."""
        with self._changed:
            return self._segments.size_bytes

    @property
    def read_upto(self) -> int:
        """Number of the last entry that `read` gave, or passed over because it could not be read."""
        return self._read

    # --- in and out ---------------------------------------------------------------------------------------

    def append(self, payload: bytes) -> int:
        """Put an entry at the end and return its number.

        Raises SpoolFull: it was not taken, and may be later; SpoolError: nobody knows whether it was.
        """
        with self._changed:
            self._check_open()
            if len(payload) > LARGEST:
                raise SpoolError(f"an entry of {len(payload)} bytes is too long for a spool")
            number = self._next
            try:
                writer = self._writer_with_room(entry_bytes(payload))
                writer.append(number, payload)
            except OSError as error:
                if error.errno in _FULL:
                    raise SpoolFull(
                        f"the disk of the spool {self.folder} is full",
                        remedy="free some space, or set PEARLSTREAM_SPOOL__FOLDER to a folder with more room",
                    ) from error
                raise self._failed("be written", error) from error
            self._segments.note_size(writer.first, writer.size)
            self._next += 1
            self._changed.notify_all()
        if self._sync_each:
            self.sync()
        return number

    def read(self, limit_bytes: int) -> list[Entry]:
        """The next entries: at least one if there is any, and no more once they have so many bytes.

        Raises SpoolError.
        """
        found: list[Entry] = []
        left = limit_bytes
        with self._changed:
            self._check_open()
            try:
                while left > 0 and (entry := self._next_entry()) is not None:
                    found.append(entry)
                    left -= entry_bytes(entry.payload)
            except OSError as error:
                raise self._failed("be read", error) from error
        return found

    def acknowledge(self, number: int) -> None:
        """Let go of every entry up to this number. Raises SpoolError if their room cannot be given back."""
        with self._changed:
            if self._closed or number <= self._acknowledged:
                return
            self._acknowledged = number
            self._read = max(self._read, number)
            self._mark.write(number)
            self._changed.notify_all()
            try:
                self._drop_acknowledged()
            except OSError as error:
                raise self._failed("be emptied", error) from error

    def rewind(self) -> None:
        """Let `read` go on with the first entry that is not acknowledged."""
        with self._changed:
            self._forget_reader()

    def wait_for_entries(self, timeout_s: float) -> None:
        """Wait until there may be something to read."""
        with self._changed:
            if not self._closed and self._read >= self._next - 1:
                self._changed.wait(timeout_s)

    def wait_for_room(self, timeout_s: float) -> None:
        """Wait until something was acknowledged, or for so long."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; False if it is not after so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.waiting, timeout_s)

    def sync(self) -> None:
        """See everything that was appended onto the disk. Raises SpoolError: then nobody knows what is there."""
        with self._changed:
            if self._writer is None:
                return
            file, names = self._writer.duplicate(), self._unsynced_names
            self._unsynced_names = False
        try:  # while others go on appending
            os.fsync(file)
            if names:
                sync_folder(self.folder)
        except OSError as error:
            raise self._failed("be synced", error) from error
        finally:
            os.close(file)

    def close(self) -> None:
        """Sync it and give it up; of one that is empty nothing is left but its notes. More than once does no harm."""
        with self._changed:
            if self._closed:
                return
        try:
            self.sync()
        finally:
            with self._changed:
                self._closed = True
                self._end_segment(sync=False)
                self._forget_reader()
                with suppress(OSError):
                    self._drop_acknowledged()
                self._mark.close()
                self._lock.release()
                self._changed.notify_all()

    # --- opening ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._segments = Segments(self.folder)
        last = self._segments.last_number()
        marked = self._mark.read()
        self._next = max(last, marked) + 1
        self._read = self._acknowledged = max(marked, next(iter(self._segments), self._next) - 1)
        if marked < self._acknowledged:  # it was lost, or older: numbers go on all the same
            self._mark.write(self._acknowledged)
        self._drop_acknowledged()
        self._segments.sync()  # whoever wrote them may have been killed before it did

    def _label(self, meant_for: str) -> None:
        """Say what the spool is meant for. Raises SpoolError if it holds something for another place."""
        label = self.folder / "meant-for"
        found = read_label(label)
        if found == meant_for:
            return
        if self.waiting and found is not None:
            self._lock.release()
            raise SpoolError(
                f"the spool {self.folder} holds {self.waiting} records for another place ({found!r}, not "
                f"{meant_for!r})",
                remedy="start what they are meant for, or move the folder away: then they are not sent",
            )
        write_label(label, meant_for)
        sync_folder(self.folder.parent)

    # --- segments -----------------------------------------------------------------------------------------

    def _writer_with_room(self, needed: int) -> SegmentWriter:
        """The segment that takes an entry of so many bytes. Raises SpoolFull, OSError."""
        writer = self._writer
        if writer is not None and writer.size >= self._segment_bytes and writer.first < self._next:
            writer = None
        if HEADER.size + needed > self.limit_bytes:
            raise SpoolError(
                f"an entry of {needed} bytes is larger than the whole spool",
                remedy="raise PEARLSTREAM_SPOOL__MAX_MB",
            )
        more = needed + (HEADER.size if writer is None else 0)
        if self._segments.size_bytes + more > self.limit_bytes and not self.waiting:
            self._end_segment()
            self._drop_acknowledged()
            writer, more = None, HEADER.size + needed
        if self._segments.size_bytes + more > self.limit_bytes:
            raise SpoolFull(
                f"the spool {self.folder} is full: {self.waiting} records wait for the broker",
                remedy="bring the broker back, or raise PEARLSTREAM_SPOOL__MAX_MB",
            )
        if writer is None:
            self._end_segment()
            writer = self._writer = SegmentWriter(self._segments.path(self._next), self._next)
            self._segments.note_size(writer.first, writer.size)
            self._unsynced_names = True
        return writer

    def _end_segment(self, *, sync: bool = True) -> None:
        """Write no more to the present segment; the next entry begins one."""
        if self._writer is not None:
            if sync and self.waiting:
                self._writer.sync()
            self._writer.close()
            self._writer = None

    def _drop_acknowledged(self) -> None:
        """Remove the segments that hold nothing else; the one that is being written is ended for it once it is long."""
        if self._writer is not None and not self.waiting and self._writer.size >= self._segment_bytes:
            self._end_segment()
        for first in self._segments:
            if self._last_of(first) > self._acknowledged or self._is_written(first):
                break
            if self._reader is not None and self._reader.first == first:
                self._forget_reader()
            self._segments.remove(first)

    # --- reading ------------------------------------------------------------------------------------------

    def _next_entry(self) -> Entry | None:
        while (reader := self._reader or self._reader_behind(self._read)) is not None:
            self._reader = reader
            writing = self._is_written(reader.first)
            known = len(reader.damage)
            entry = reader.next(self._writer.size if writing and self._writer is not None else None)
            self._tell_damage(reader, known)
            if entry is None:
                if writing:
                    return None
                self._pass_over(self._last_of(reader.first))
                self._forget_reader(keep=True)
            elif entry.number > self._read:
                self._pass_over(entry.number - 1)
                self._read = entry.number
                return entry
        return None

    def _pass_over(self, upto: int) -> None:
        """Go on behind this number; what was not read before it is not there."""
        if upto > self._read:
            log.error("entries of the spool are missing", first=self._read + 1, last=upto)
            self._read = upto

    def _reader_behind(self, number: int) -> SegmentReader | None:
        """A reader of the segment that holds the entry after this one, None if there is none yet."""
        for first in self._segments:
            if self._last_of(first) > number:
                reader = self._segments.opened(first)
                if reader is not None:
                    return reader
        return None

    def _is_written(self, first: int) -> bool:
        return self._writer is not None and first == self._writer.first

    def _last_of(self, first: int) -> int:
        return self._segments.last_of(first, self._next - 1)

    def _tell_damage(self, reader: SegmentReader, known: int) -> None:
        for damage in reader.damage[known:]:
            facts = {"file": reader.path.name, "at": damage.at, "bytes": damage.length}
            if damage.torn:
                log.warning("the last entry of a segment was cut short by a crash; nobody was told it is safe", **facts)
            else:
                self._segments.note_bad(reader.first)
                log.error("a part of the spool cannot be read and is passed over; the file will be kept", **facts)

    def _forget_reader(self, *, keep: bool = False) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if not keep:
            self._read = self._acknowledged

    # --- trouble ------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise SpoolError(f"the spool {self.folder} is closed")

    def _failed(self, what: str, error: OSError) -> SpoolError:
        return SpoolError(
            f"the spool {self.folder} cannot {what}: {error.strerror or error}",
            remedy="mend the folder, or set PEARLSTREAM_SPOOL__FOLDER to another one",
        )
