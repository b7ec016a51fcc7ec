"""A request's SQL, understood as far as the endpoint must: what kind, which format, where data begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deploy.embedded.store.faults import SYNTAX_ERROR, StoreError
from deploy.embedded.store.guard import Guard
from deploy.embedded.store.lexer import Kind, Token, tokens

DEFAULT_FORMAT = "TabSeparated"

_STREAMED = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
"""Formats in which the engine's blocks, one after the other, are the whole: no header, no footer."""

_ANSWERING = frozenset(b"SELECT WITH SHOW DESCRIBE DESC EXISTS EXPLAIN CHECK KILL FROM VALUES".split())
_SELECTING = frozenset(b"SELECT WITH FROM".split())

HELLO = tuple(b"select displayname ( ) , version ( ) , revision ( ) , timezone ( )".split())
"""The first query of ClickHouse's Go driver, which it reads in a layout of its own."""


@dataclass(frozen=True)
class Statement:
    """One statement without data.

    `format` is the one of its answer (written in it, or the request's default). `answers`: it gives rows.
    `streams`: its blocks may be sent as they come.
    """

    sql: bytes
    verb: bytes
    format: str
    answers: bool
    streams: bool
    hello: bool
    assigned: tuple[str, ...] = ()
    """Names that a SET statement sets."""


@dataclass(frozen=True)
class DataInsert:
    """An INSERT whose rows follow it: `data_start` is the byte where they begin."""

    into: bytes
    """`INSERT INTO table (columns)`, up to where FROM INFILE may stand."""
    settings: bytes
    format: str
    data_start: int

    def from_file(self, path: str) -> bytes:
        """The statement that reads the rows from `path` instead (a name of ours, without quotes in it)."""
        parts = [self.into, f"FROM INFILE '{path}' COMPRESSION 'none'".encode(), self.settings]
        return b" ".join(part for part in parts if part) + f" FORMAT {self.format}".encode()


def read_statement(sql: bytes, guard: Guard, default_format: str) -> Statement:
    """Understand a statement that carries no data. Raises StoreError if it is empty, malformed or refused."""
    found = guard.check(sql)
    while found and found[-1].text == b";":
        sql = sql[: found.pop().start]
    verb = next((token for token in found if token.text != b"("), None)
    if verb is None:
        raise StoreError.of_ours(SYNTAX_ERROR, "Syntax error: empty query")
    written = _trailing_format(found)
    chosen = written or default_format
    return Statement(
        sql=sql,
        verb=verb.upper,
        format=chosen,
        answers=verb.upper in _ANSWERING or written is not None,
        streams=verb.upper in _SELECTING and chosen in _STREAMED,
        hello=tuple(token.name for token in found) == HELLO,
        assigned=_assigned(found) if verb.upper == b"SET" else (),
    )


def read_insert(sql: bytes, guard: Guard) -> DataInsert | None:
    """The head of an INSERT whose rows follow in `sql` or after it; None for every other statement.

    Only the head is looked at: what follows is data. Raises StoreError if the head is malformed or refused.
    """
    depth = 0
    head: list[Token] = []
    settings: Token | None = None
    for token in guard.watch(tokens(sql)):
        if not head and token.upper != b"INSERT":
            return None
        depth += (token.text == b"(") - (token.text == b")")
        word = token.upper if depth == 0 else b""
        if word in (b"SELECT", b"WITH", b"WATCH", b"EXPLAIN") or token.text == b";":
            return None
        if word == b"SETTINGS" and settings is None:
            settings = token
        if word == b"VALUES" and len(head) > 2:
            return _data_insert(sql, settings, token, "Values", token.end)
        if head and head[-1].upper == b"FORMAT" and len(head) > 3 and depth == 0 and token.kind is Kind.WORD:
            return _data_insert(sql, settings, head[-1], token.text.decode(), _skip_line(sql, token.end))
        head.append(token)
    return None


def _data_insert(sql: bytes, settings: Token | None, end: Token, fmt: str, data_start: int) -> DataInsert:
    split = settings.start if settings is not None else end.start
    return DataInsert(
        into=sql[:split].strip(), settings=sql[split : end.start].strip(), format=fmt, data_start=data_start
    )


def _skip_line(sql: bytes, position: int) -> int:
    """Past the blanks after the format's name and the one line break that may end the head."""
    while position < len(sql) and sql[position : position + 1] in (b" ", b"\t", b"\f"):
        position += 1
    if sql[position : position + 1] == b"\r":
        position += 1
    if sql[position : position + 1] == b"\n":
        position += 1
    return position


def _trailing_format(found: list[Token]) -> str | None:
    """The format that a statement names for its answer."""
    for place in range(len(found) - 2, -1, -1):
        token, after = found[place], found[place + 1]
        rest = found[place + 2].upper if place + 2 < len(found) else b"SETTINGS"
        if token.upper == b"FORMAT" and after.kind is Kind.WORD and rest == b"SETTINGS":
            return after.text.decode()
    return None


def _assigned(found: Iterable[Token]) -> tuple[str, ...]:
    names: list[str] = []
    before: Token | None = None
    for token in found:
        if token.text == b"=" and before is not None and before.kind in (Kind.WORD, Kind.QUOTED):
            names.append(before.name.decode())
        before = token
    return tuple(names)
