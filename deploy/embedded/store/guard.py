"""What nobody may ask of the store: statements that reach files, the network or other programs.

The engine's own grants refuse most of it (see `engine_config`). This is the second wall, and the first for
what the engine does not count as a right: `INTO OUTFILE`, `FROM INFILE`, the functions `file(...)` and
`python(...)`, table engines with a folder of their own, and several statements in one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from deploy.embedded.store.faults import ACCESS_DENIED, SYNTAX_ERROR, StoreError
from deploy.embedded.store.lexer import Kind, Token, string_value, tokens

HARMLESS_TABLE_FUNCTIONS = frozenset(
    b"dictionary format generate_series generaterandom generateseries loop merge mergetreeindex null numbers "
    b"numbers_mt primes values view viewifpermitted zeros zeros_mt sqlstandardvalues".split()
)
"""Table functions that reach nothing outside the store; every other one that the engine has is refused."""

HARMLESS_ENGINES = frozenset(
    b"mergetree replacingmergetree summingmergetree aggregatingmergetree collapsingmergetree "
    b"versionedcollapsingmergetree coalescingmergetree view materializedview memory null log tinylog "
    b"stripelog join set buffer dictionary merge alias generaterandom atomic".split()
)
"""Engines of tables and databases that keep to the store's folder; every other one is refused."""

_FUNCTIONS = frozenset(
    b"file disk catboostevaluate aigenerate aiclassify aiembed aiextract airedact aitranslate aisimilarity "
    b"aifilter".split()
)
"""What else looks like a call and reaches files or the network (`disk(...)` in a table's settings)."""

_DICTIONARY_SOURCES = frozenset(
    b"file executable executable_pool http mysql postgresql mongodb redis cassandra odbc jdbc ytsaurus "
    b"library remote hdfs s3 url".split()
)

_NAMES = (Kind.WORD, Kind.QUOTED)


def denied_names(table_functions: Iterable[bytes]) -> frozenset[bytes]:
    """Names (small letters) that may not be called, given the table functions of the engine at hand."""
    risky = {name.lower() for name in table_functions} - HARMLESS_TABLE_FUNCTIONS
    return frozenset(risky | _FUNCTIONS | _DICTIONARY_SOURCES)


def denied_engines(engines: Iterable[bytes]) -> frozenset[bytes]:
    """Names (small letters) that may not follow ENGINE, given those of the engine at hand."""
    return frozenset({name.lower() for name in engines} - HARMLESS_ENGINES)


class Guard:
    """Looks through statements: `names` may not be called, `engines` may not be used."""

    def __init__(self, names: frozenset[bytes], engines: frozenset[bytes]) -> None:
        self._denied = names
        self._engines = engines
        either = b"|".join(sorted(re.escape(name) for name in names))
        self._mentioned = re.compile(rb"(?i)(?<!\w)(?:" + either + rb")(?!\w)|\b(?:INTO\s+OUT|FROM\s+IN)FILE\b")

    def check(self, sql: bytes) -> list[Token]:
        """The tokens of one whole statement without comments. Raises StoreError if it is refused."""
        found = list(self.watch(tokens(sql)))
        _check_default(found)
        if any(token.upper == b"DICTIONARY" for token in found):
            # A dictionary's source holds SQL in a string: what it says counts as if said aloud.
            for token in found:
                if token.kind is Kind.STRING:
                    self._check_quoted(string_value(token.text))
        return found

    def watch(self, stream: Iterable[Token]) -> Iterator[Token]:
        """The tokens of `stream` without comments, each looked at before it is passed on."""
        before: list[Token] = []
        for token in stream:
            if token.kind is Kind.COMMENT:
                self._check_quoted(token.text)
                continue
            if before:
                self._check_pair(before[-1], token)
                self._check_engine(before, token)
            before = [*before[-1:], token]
            yield token

    def _check_pair(self, last: Token, token: Token) -> None:
        if last.text == b";" and token.text != b";":
            raise StoreError.of_ours(SYNTAX_ERROR, "Syntax error: one statement a request, something follows ';'")
        if token.text == b"(" and last.kind in _NAMES and (last.escaped or last.name in self._denied):
            raise _denied(f"{last.name.decode(errors='replace')}(...)")
        if (last.upper, token.upper) in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
            raise _denied(f"{last.upper.decode()} {token.upper.decode()}")

    def _check_engine(self, before: list[Token], token: Token) -> None:
        """The word after ENGINE, or ENGINE =."""
        words = [known.text.upper() for known in before]
        named = words[-1] == b"ENGINE" or words == [b"ENGINE", b"="]
        if named and token.kind in _NAMES and (token.escaped or token.name in self._engines):
            raise _denied(f"ENGINE {token.name.decode(errors='replace')}")

    def _check_quoted(self, text: bytes) -> None:
        found = self._mentioned.search(text)
        if found is not None and (b"(" in text or b"FILE" in found.group().upper()):
            raise _denied(f"{found.group().decode(errors='replace')} inside a comment or a dictionary's source")


def _check_default(statement: list[Token]) -> None:
    """Every connection of the engine begins in the database `default`: without it the store is lost."""
    words = [token.upper for token in statement[:2]]
    if words[1:] == [b"DATABASE"] and words[0] in (b"DROP", b"DETACH", b"RENAME"):
        for token in statement[2:]:
            if token.kind in _NAMES and (token.escaped or token.name == b"default"):
                raise _denied(f"{words[0].decode()} DATABASE default")


def _denied(what: str) -> StoreError:
    return StoreError.of_ours(
        ACCESS_DENIED,
        f"the embedded store refuses {what}: it reaches nothing outside its own folder; read files and "
        "other systems with a client and insert what it read",
    )
