"""Bodies: taken in up to a limit, unpacked whole, however many frames the client made of them."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import lz4.frame
import zstandard

from deploy.embedded.store.faults import CANNOT_DECOMPRESS, NO_ROOM, NOT_IMPLEMENTED, TOO_LARGE, StoreError

BODY_LIMIT_BYTES = 256 * 1024 * 1024
"""The most that a request may carry, packed or unpacked."""

ENCODINGS = ("lz4", "zstd", "gzip", "deflate")
"""Compressions that are taken and given, by their HTTP names."""

_IN_MEMORY_BYTES = 1024 * 1024
_SLICE = 4096
"""Bytes fed to a decompressor at once: a frame made to explode grows by 128 MiB before it is noticed."""


class Spool:
    """A body on its way in: in memory while small, then in a file of `folder` that has no name."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115

    def write(self, piece: bytes) -> None:
        """Take a piece. Raises StoreError if the body grows over the limit or the disk is full."""
        self.size += len(piece)
        if self.size > self._limit:
            raise StoreError.of_ours(
                TOO_LARGE, f"the body is larger than {self._limit >> 20} MiB; insert in smaller batches"
            )
        try:
            self._file.write(piece)
        except OSError as error:
            raise no_room(error) from None

    def unpacked(self, encoding: str, folder: Path) -> Spool:
        """The same body without its compression. Raises StoreError if it is damaged, cut off or too large."""
        if encoding in ("", "identity"):
            return self
        unpack = _UNPACKERS.get(encoding)
        if unpack is None:
            raise StoreError.of_ours(
                NOT_IMPLEMENTED, f"Content-Encoding {encoding!r} is not taken; use {', '.join(ENCODINGS)}"
            )
        plain = Spool(folder, self._limit)
        self._file.seek(0)
        try:
            for piece in unpack(self._file):
                plain.write(piece)
        except (RuntimeError, EOFError, zlib.error, zstandard.ZstdError) as error:
            plain.close()
            raise StoreError.of_ours(
                CANNOT_DECOMPRESS, f"the {encoding} body is damaged: {error}", status=400
            ) from None
        except StoreError:
            plain.close()
            raise
        self.close()
        return plain

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or all if there are fewer."""
        self._file.seek(0)
        return self._file.read(size)

    def save(self, path: Path, prefix: bytes, start: int) -> None:
        """Write `prefix` and what follows byte `start` to `path`. Raises StoreError if the disk is full."""
        try:
            with path.open("wb") as file:
                file.write(prefix)
                self._file.seek(start)
                shutil.copyfileobj(self._file, file, _IN_MEMORY_BYTES)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise no_room(error) from None

    def close(self) -> None:
        """Forget the body."""
        self._file.close()


def no_room(error: OSError) -> StoreError:
    """The answer to a body that could not be written down."""
    return StoreError.of_ours(
        NO_ROOM, f"cannot write the body to the data folder: {error.strerror}; nothing of it was inserted"
    )


class _Unpacker(Protocol):
    """What the three libraries' decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _slices(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_SLICE):
        yield piece


def _frames(file: IO[bytes], new: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """Unpack frame after frame: clients send one a block, and what follows the first is data too."""
    unpacker: _Unpacker | None = None
    for piece in _slices(file):
        rest = piece
        while rest:
            unpacker = unpacker or new()
            yield unpacker.decompress(rest)
            if not unpacker.eof:
                break
            rest, unpacker = unpacker.unused_data or b"", None
    if unpacker is not None:
        raise EOFError("it ends in the middle of a frame")


def _unpack_lz4(file: IO[bytes]) -> Iterator[bytes]:
    return _frames(file, lz4.frame.LZ4FrameDecompressor)


def _unpack_zstd(file: IO[bytes]) -> Iterator[bytes]:
    return _frames(file, lambda: zstandard.ZstdDecompressor().decompressobj())


def _unpack_gzip(file: IO[bytes]) -> Iterator[bytes]:
    return _frames(file, lambda: zlib.decompressobj(31))


def _unpack_deflate(file: IO[bytes]) -> Iterator[bytes]:
    return _frames(file, lambda: zlib.decompressobj(15))


_UNPACKERS: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {
    "lz4": _unpack_lz4,
    "zstd": _unpack_zstd,
    "gzip": _unpack_gzip,
    "deflate": _unpack_deflate,
}


class Packer:
    """Compresses an answer piece by piece; `name` is what Content-Encoding says, empty for none."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "lz4":
            packer = lz4.frame.LZ4FrameCompressor(auto_flush=True)
            self._start: bytes = packer.begin()
            self._pack: Callable[[bytes], bytes] = packer.compress
            self._end: Callable[[], bytes] = packer.flush
        elif name == "zstd":
            zstd = zstandard.ZstdCompressor(level=1).compressobj()
            self._start, self._pack, self._end = b"", zstd.compress, zstd.flush
        elif name in ("gzip", "deflate"):
            deflate = zlib.compressobj(1, zlib.DEFLATED, 31 if name == "gzip" else 15)
            self._start, self._pack, self._end = b"", deflate.compress, deflate.flush
        else:
            self._start, self._pack, self._end = b"", bytes, bytes

    def pack(self, piece: bytes) -> bytes:
        """The bytes to send for `piece`."""
        start, self._start = self._start, b""
        return start + self._pack(piece)

    def end(self) -> bytes:
        """The bytes that close the answer."""
        start, self._start = self._start, b""
        return start + self._end()


def accepted(header: str) -> str:
    """The compression that an Accept-Encoding asks for, the first that we know; empty for none."""
    for wish in header.split(","):
        name, _, quality = wish.partition(";")
        if name.strip() in ENCODINGS and quality.strip() not in ("q=0", "q=0.0"):
            return name.strip()
    return ""
