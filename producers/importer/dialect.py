"""How a file is written: encoding, delimiter, decimal sign. Told by the mapping or by flags, else found out.

What is usual (UTF-8, comma, point) needs no question, and a byte order mark is nothing to ask about. Anything
else that was found out must be confirmed by a person, or told: a guess that goes wrong silently turns 1,5 into 15.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from producers.importer.mapping import Dialect
from producers.importer.problems import FileRefused

SAMPLE_BYTES = 64 << 10
"""How much of a file is looked at to find out how it is written."""
SAMPLE_ROWS = 50
DELIMITERS = (",", ";", "\t", "|")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+").fullmatch
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+").fullmatch

Confirm = Callable[[str], bool]
"""Asks a person whether a finding is right."""


@dataclass(frozen=True)
class Written:
    """How one file is written, and the names of its columns.

    `header`: whether its first line holds them. `first`: the first row under it, to be shown.
    """

    encoding: str
    delimiter: str
    decimal: str
    quote: str
    names: tuple[str, ...]
    header: bool = True
    first: tuple[str, ...] = ()

    @property
    def flags(self) -> str:
        """The options of `pearlstream import` that tell all this."""
        shown = "'\\t'" if self.delimiter == "\t" else f"'{self.delimiter}'"
        return f"--encoding {self.encoding} --delimiter {shown} --decimal '{self.decimal}'"

    @contextmanager
    def open(self, path: Path) -> Iterator[TextIO]:
        """The file as text, line ends as they are. Raises FileRefused where its bytes are not of that encoding."""
        with path.open("r", encoding=self.encoding, newline="") as file:
            try:
                yield file
            except UnicodeDecodeError as error:
                raise _bad_bytes(path, self.encoding, error) from None

    def rows(self, file: TextIO) -> csv._reader:  # type: ignore[name-defined]
        """A CSV reader over the open file."""
        return _reader(file, self.delimiter, self.quote)


def _reader(file: TextIO, delimiter: str, quote: str) -> csv._reader:  # type: ignore[name-defined]
    if not quote:
        return csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(file, delimiter=delimiter, quotechar=quote, strict=True)


def look_at(path: Path, told: Dialect, wanted: Collection[str], confirm: Confirm | None) -> Written:
    """Find out how a file is written. `wanted`: columns that the mapping names; `confirm` None: nobody to ask.

    Raises FileRefused (`csv_dialect`) with the exact flags to use if something unusual was neither told nor
    confirmed, or if no way of reading the file finds the wanted columns.
    """
    try:
        with path.open("rb") as file:
            head = file.read(SAMPLE_BYTES)
    except OSError as error:
        raise FileRefused("csv_file", f"{path}: {error.strerror}", remedy="check the path") from None
    if not head.strip():
        raise FileRefused("csv_empty", f"{path}: the file is empty", remedy="leave it out")
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    if packed:
        raise FileRefused("csv_file", f"{path}: compressed ({packed})", remedy="unpack it first")
    encoding = _encoding_of(path, head, told.encoding)
    written = _shape(path, _decoded(path, head, encoding), encoding, told, wanted)
    unusual = [
        name
        for name, found, usual in (
            ("encoding", encoding, ("utf-8", "utf-8-sig")),
            ("delimiter", written.delimiter, (",",)),
            ("decimal", written.decimal, (".",)),
        )
        if not getattr(told, name) and found not in usual
    ]
    if unusual:
        what = ", ".join(f"{name} {getattr(written, name)!r}" for name in unusual)
        if confirm is None or not confirm(f"{path.name}: {what}. Its first row then is {_shown(written)}. Read it so?"):
            raise FileRefused(
                "csv_dialect",
                f"{path}: looks like {what}, which nobody confirmed",
                remedy=f"if that is right, say {written.flags}, or the same under [dialect] in the mapping",
            )
    return written


def _shown(written: Written) -> str:
    """The first row with its columns, for a question."""
    pairs = [f"{name} = {cell!r}" for name, cell in zip(written.names, written.first, strict=False)]
    return ", ".join(pairs[:12]) or "empty"


def _encoding_of(path: Path, head: bytes, told: str) -> str:
    """The encoding: of the byte order mark, as told, or found out. A mark is never part of the text."""
    marked = next((encoding for bom, encoding in _BOMS if head.startswith(bom)), None)
    if marked and (not told or told.lower().replace("_", "-").startswith(marked[:5])):
        return marked
    if told:
        return told
    sample = head[:4096]
    if sample.count(0) * 4 > len(sample):  # ASCII in UTF-16 without a byte order mark: every other byte is zero
        return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        raise _bad_bytes(path, "utf-8", error) from None
    return "utf-8"


def _bad_bytes(path: Path, encoding: str, error: UnicodeDecodeError) -> FileRefused:
    some = error.object[error.start : error.start + 8].hex(" ")
    return FileRefused(
        "csv_encoding",
        f"{path}: not {encoding}: {error.reason} (bytes {some})",
        remedy="say what it is: --encoding gb18030 for Chinese, --encoding cp1252 for Western Windows files",
    )


def _decoded(path: Path, head: bytes, encoding: str) -> str:
    """The sample as text, up to its last whole line if it has several."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except LookupError:
        raise FileRefused(
            "csv_encoding", f"there is no encoding {encoding!r}", remedy="utf-8, utf-16, gb18030, cp1252, ..."
        ) from None
    except UnicodeDecodeError as error:
        raise _bad_bytes(path, encoding, error) from None
    if len(head) == SAMPLE_BYTES and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    return text


def _shape(path: Path, text: str, encoding: str, told: Dialect, wanted: Collection[str]) -> Written:
    """The first delimiter under which all wanted columns are there, most columns first among equals."""
    best: tuple[int, int, Written] | None = None
    for rank, delimiter in enumerate((told.delimiter,) if told.delimiter else DELIMITERS):
        rows = _sample(text, delimiter, told.quote)
        if not rows:
            continue
        names = told.names or tuple(name.strip() for name in rows[0])
        body = rows if told.names else rows[1:]
        decimal = told.decimal or _decimal_of(body, delimiter)
        first = tuple(body[0]) if body else ()
        written = Written(encoding, delimiter, decimal, told.quote, names, not told.names, first)
        score = (len(set(wanted) & set(names)), -rank)
        if best is None or score > best[:2]:
            best = (*score, written)
    if best is None:
        raise FileRefused("csv_quote", f"{path}: no row can be read", remedy="check the quotes in its first lines")
    written = best[2]
    missing = [name for name in wanted if name not in written.names]
    if missing:
        raise FileRefused(
            "csv_header",
            f"{path}: no column {missing[0]!r}; it has {', '.join(repr(name) for name in written.names[:24])}",
            remedy="mend the mapping, or say --delimiter; files without a header line need [dialect] names = [...]",
        )
    twice = [name for name in wanted if written.names.count(name) > 1]
    if twice:
        raise FileRefused("csv_header", f"{path}: two columns {twice[0]!r}", remedy="rename one of them")
    return written


def _sample(text: str, delimiter: str, quote: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in _reader(io.StringIO(text, newline=""), delimiter, quote):
            if row:
                rows.append(row)
            if len(rows) > SAMPLE_ROWS:
                break
    except csv.Error:
        pass  # the rows before it will do; reading the file says where it is
    return rows


def _decimal_of(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell.strip() for row in rows for cell in row]
    commas, points = sum(map(bool, map(_COMMA_NUMBER, cells))), sum(map(bool, map(_POINT_NUMBER, cells)))
    return "," if commas > points else "."
