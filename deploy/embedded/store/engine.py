"""The engine in this process: opened once, asked over any number of connections."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chdb

from deploy.embedded.folders import IN_USE_REMEDY, prepare_folder
from deploy.embedded.store.engine_config import DATA, INCOMING, write_config
from deploy.embedded.store.faults import BAD_ARGUMENTS, StoreError
from deploy.embedded.store.guard import Guard, denied_engines, denied_names
from pearlstream.errors import ServiceError
from pearlstream.lock import FolderLock

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")

_RUNNING = b"SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {mark:String}"
_VALUES_OF = b"SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}"


@dataclass(frozen=True)
class Answer:
    """A whole answer: its bytes and what it took."""

    body: bytes
    rows_read: int
    bytes_read: int
    elapsed_ns: int


class Engine:
    """chDB on one folder. One process at a time may open a folder; one folder a process."""

    def __init__(self, folder: Path) -> None:
        """Open it; takes up to seconds if there are many data.

        Changes the working folder of the process, as the engine reads and writes by relative names.
        Raises ServiceError if the folder cannot be written or is in use, or if the engine would not obey
        its configuration.
        """
        self.folder = prepare_folder(folder)
        self._lock = FolderLock(self.folder / "lock", what=f"the embedded store in {self.folder}", remedy=IN_USE_REMEDY)
        config = write_config(self.folder)
        self.incoming = self.folder / INCOMING
        self._empty_incoming()
        os.chdir(self.folder)  # so that no sign in the path means anything to chDB
        self._address = f"{DATA}?config-file={config}"
        try:
            self._anchor = chdb.connect(self._address)  # the engine lives as long as one connection
        except RuntimeError as error:
            raise ServiceError(f"the embedded store in {self.folder} cannot be opened: {error}") from None
        self._check_grants()
        self.version, self.timezone, self.display_name = self._facts()
        self.initial = self._changed_settings()
        self.guard = Guard(
            denied_names(self._lines("SELECT name FROM system.table_functions")),
            denied_engines(
                self._lines("SELECT name FROM system.table_engines UNION ALL SELECT name FROM system.database_engines")
            ),
        )

    def connect(self) -> Link:
        """A connection of its own, with its own settings, database and temporary tables (about 0.2 ms)."""
        try:
            return Link(chdb.connect(self._address), self.initial)
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None

    def kill(self, mark: str) -> None:
        """Stop the running statement that was laid with `mark`; none is fine, too."""
        link = self.connect()
        try:
            found = link.ask(_RUNNING, "TabSeparatedRaw", {"mark": mark}).body
            for query_id in found.decode().split():
                link.ask(b"KILL QUERY WHERE query_id = {id:String} ASYNC", "Null", {"id": query_id})
        finally:
            link.close()

    def close(self) -> None:
        """Close the engine; connections still open keep it alive."""
        self._anchor.close()
        self._lock.release()

    def _empty_incoming(self) -> None:
        self.incoming.mkdir(exist_ok=True)
        for left in self.incoming.iterdir():  # bodies of inserts that a kill cut short
            left.unlink()

    def _check_grants(self) -> None:
        granted = b"\n".join(self._lines("SHOW GRANTS"))
        if not granted or b"SOURCES" in granted or b"FILE" in granted:
            raise ServiceError(
                "the embedded store's engine did not take its configuration",
                remedy="this version of chdb does not fit; install the one that pearlstream names",
            )

    def _facts(self) -> tuple[str, str, str]:
        lines = self._lines("SELECT arrayJoin([version(), timezone(), displayName()])")
        version, timezone, name = (line.decode() for line in lines)
        return version, timezone, name

    def _changed_settings(self) -> dict[str, str]:
        lines = self._lines("SELECT name, value FROM system.settings WHERE changed FORMAT JSONEachRow")
        return {row["name"]: row["value"] for row in map(json.loads, lines)}

    def _lines(self, sql: str) -> list[bytes]:
        return list(self._anchor.query(sql, "TabSeparatedRaw").bytes().splitlines())


class Link:
    """One connection. Blocking, and for one thread at a time; all errors come as StoreError."""

    def __init__(self, connection: Any, initial: Mapping[str, str]) -> None:
        self._connection = connection
        self._own = dict(initial)
        """Settings that hold between requests; what is not among them has the engine's default."""
        self._database = self._home = "default"

    def lay(self, settings: Mapping[str, str], database: str, *, read_only: bool) -> None:
        """Apply what one request brings. `read_only` cannot be taken back on this connection."""
        wanted = database or self._home
        if wanted != self._database:
            self.ask(f"USE `{_escape(wanted, '`')}`".encode(), "Null")
            self._database = wanted
        self._set(settings)
        if read_only:
            self._set({"readonly": "2"})

    def lift(self, settings: Mapping[str, str]) -> None:
        """Take back what `lay` set, so that the next request finds what was there before."""
        kept = {name: self._own[name] for name in settings if name in self._own}
        self._set(kept)
        dropped = ", ".join(f"{name} = DEFAULT" for name in settings if name not in kept)
        if dropped:
            self.ask(f"SET {dropped}".encode(), "Null")

    def keep_database(self) -> None:
        """Let the present database hold beyond the request: USE was said in SQL."""
        self._database = self._home = self.ask(b"SELECT currentDatabase()", "TabSeparatedRaw").body.decode().strip()

    def keep(self, names: tuple[str, ...]) -> None:
        """Let the present values of `names` hold beyond the request: SET was said in SQL."""
        wanted = "[" + ",".join(map(_quote, names)) + "]"
        rows = self.ask(_VALUES_OF, "JSONEachRow", {"names": wanted})
        for row in map(json.loads, rows.body.splitlines()):
            self._own[row["name"]] = row["value"]

    def ask(self, sql: bytes, fmt: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Run a statement; `fmt` is the format of its answer unless it names one."""
        try:
            result = self._connection.query(_text(sql), fmt, params=dict(parameters or {}))
            return Answer(result.bytes() or b"", result.rows_read(), result.bytes_read(), int(result.elapsed() * 1e9))
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None

    def stream(self, sql: bytes, fmt: str, parameters: Mapping[str, str]) -> Stream:
        """Begin a SELECT; nothing else may be asked here until it is closed."""
        try:
            return Stream(self._connection.send_query(_text(sql), fmt, params=dict(parameters)))
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None

    def close(self) -> None:
        """End the connection and what it holds."""
        self._connection.close()

    def _set(self, settings: Mapping[str, str]) -> None:
        if settings:
            self.ask(("SET " + ", ".join(_assignments(settings))).encode(), "Null")


class Stream:
    """The blocks of an answer, as the engine makes them."""

    def __init__(self, blocks: Any) -> None:
        self._blocks = blocks

    def next(self) -> bytes | None:
        """The next block, None after the last. Raises StoreError."""
        try:
            while (block := self._blocks.fetch()) is not None:
                if piece := block.bytes():
                    return bytes(piece)
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None
        return None

    def close(self) -> None:
        """Stop the query if it still runs."""
        self._blocks.close()


def check_setting_name(name: str) -> str:
    """`name`, if it can be a setting's. Raises StoreError."""
    if not _SETTING.fullmatch(name):
        raise StoreError.of_ours(BAD_ARGUMENTS, f"{name[:60]!r} is neither a parameter nor a setting")
    return name


def _assignments(settings: Mapping[str, str]) -> Iterator[str]:
    # Quoted whatever it is: the engine makes numbers of quoted ones where it wants numbers. Expressions
    # like 'auto(4)' come with their own quotes.
    for name, value in settings.items():
        quoted = len(value) > 1 and value[0] == value[-1] == "'"
        yield f"{check_setting_name(name)} = {value if quoted else _quote(value)}"


def _text(sql: bytes) -> str | bytes:
    try:
        return sql.decode()
    except UnicodeDecodeError:
        return sql


def _escape(text: str, quote: str) -> str:
    return text.replace("\\", "\\\\").replace(quote, "\\" + quote)


def _quote(text: str) -> str:
    return "'" + _escape(text, "'") + "'"
