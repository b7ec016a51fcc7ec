"""ClickHouse's words, found without misjudging where a quotation ends.

The guard decides by words outside quotations, so this must never see a quotation where the engine sees
code. What the two could disagree about (heredocs, typographic quotes, signs beyond ASCII outside of
quotations) is refused at its first occurrence.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from deploy.embedded.store.faults import SYNTAX_ERROR, StoreError


class Kind(enum.Enum):
    """What a token is."""

    WORD = enum.auto()
    QUOTED = enum.auto()
    """A quoted identifier."""
    STRING = enum.auto()
    SIGN = enum.auto()
    COMMENT = enum.auto()


class Token(NamedTuple):
    """A piece of SQL: `text` as written, `name` what it means (unquoted), at bytes `[start, end)`."""

    kind: Kind
    text: bytes
    start: int
    end: int

    @property
    def upper(self) -> bytes:
        """The word in capitals; empty if it is not a bare word."""
        return self.text.upper() if self.kind is Kind.WORD else b""

    @property
    def name(self) -> bytes:
        """The identifier in small letters without quotes; escapes are left as they are."""
        if self.kind is Kind.QUOTED:
            quote = self.text[:1]
            return self.text[1:-1].replace(quote * 2, quote).lower()
        return self.text.lower()

    @property
    def escaped(self) -> bool:
        """Whether it is an identifier whose `name` is not what the engine will read."""
        return self.kind is Kind.QUOTED and b"\\" in self.text


_TOKEN = re.compile(
    rb"""
    (?P<space>\s+)
  | (?P<comment>--[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<word>[A-Za-z0-9_]+)
  | (?P<sign>[!%&()*+,\-./:;<=>?@\[\]^{|}~])
    """,
    re.DOTALL | re.VERBOSE,
)

_KINDS = {
    "comment": Kind.COMMENT,
    "string": Kind.STRING,
    "quoted": Kind.QUOTED,
    "word": Kind.WORD,
    "sign": Kind.SIGN,
}

_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"b": b"\b", b"f": b"\f", b"a": b"\a", b"v": b"\v"}


def tokens(sql: bytes, start: int = 0) -> Iterator[Token]:
    """The tokens of `sql` from byte `start`, comments included, spaces not.

    Lazy: what follows an INSERT's FORMAT is data and must not be asked for. Raises StoreError at the first
    byte that is no token.
    """
    position = start
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None or (match.lastgroup == "sign" and sql.startswith(b"/*", position)):
            raise StoreError.of_ours(SYNTAX_ERROR, _complaint(sql, position))
        position = match.end()
        group = match.lastgroup or ""
        if group != "space":
            yield Token(_KINDS[group], match.group(), match.start(), position)


def _complaint(sql: bytes, position: int) -> str:
    piece = sql[position : position + 20].decode("utf-8", "replace")
    if sql[position : position + 1] in b"'\"`" or sql.startswith(b"/*", position):
        return f"Syntax error: a quotation or comment is not closed at byte {position}: {piece!r}"
    return (
        f"Syntax error at byte {position}: {piece!r}; outside of quotations the embedded store takes "
        "plain ASCII without '$', '#' and '\\' (quote the name, and write '...' instead of $$...$$)"
    )


def string_value(literal: bytes) -> bytes:
    """What a string literal stands for; escapes of bytes in hexadecimal are resolved as well."""

    def resolve(match: re.Match[bytes]) -> bytes:
        escaped = match.group(1)
        if escaped is None:  # a doubled quote
            return b"'"
        if escaped[:1] == b"x" and len(escaped) == 3:
            return bytes([int(escaped[1:], 16)])
        return _ESCAPES.get(escaped, escaped)

    return re.sub(rb"\\(x[0-9A-Fa-f]{2}|.)|''", resolve, literal[1:-1], flags=re.DOTALL)
