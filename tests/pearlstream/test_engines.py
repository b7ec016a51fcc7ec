"""The two engines: NumPy over a stream and ClickHouse over stored rows give the same bits and integers.

Random terms of the whole whitelist meet random rows: nulls, NaN, infinities, integers beyond 2^53, columns that are
all null or all one value. A disagreement found here is a reason to narrow the whitelist, never to round.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pearlstream.aggregate import aggregate
from pearlstream.errors import TermError
from pearlstream.measures import MeasureKind, MeasureSpec, PaneOf, clickhouse_select
from pearlstream.partials import IDENTITY
from pearlstream.rows import Rows
from pearlstream.terms import ColumnType, Term

EXAMPLES = int(os.environ.get("PEARLSTREAM_TEST_EXAMPLES", "60"))
"""Random examples per property; some thousands are worth a night when an engine's version changes."""
COLUMNS = {
    "i": ColumnType.NUMBER,
    "u": ColumnType.NUMBER,
    "f": ColumnType.NUMBER,
    "g": ColumnType.NUMBER,
    "z": ColumnType.NUMBER,
    "b": ColumnType.BOOLEAN,
    "t": ColumnType.TEXT,
    "e": ColumnType.TEXT,
}
WORDS = ["a", "b", "it's", "b\\n", "", "k=v,%", "城"]
TABLE = """CREATE OR REPLACE TABLE readings (row UInt32, city LowCardinality(String), ts Int64, clock Int64, late Bool,
    i Nullable(Int64), u Nullable(UInt64), f Nullable(Float64), g Nullable(Float64), z Float64, b Nullable(Bool),
    t LowCardinality(Nullable(String)), e Nullable(Enum8('a' = 1, 'b' = 2, 'c' = 3))) ENGINE = Memory"""


# ---------------------------------------------------------------- the other engine


class ClickHouse:
    """chDB in a process of its own: it allows one path per process, and other tests may want theirs."""

    SERVER = """
import json, sys
from chdb import session
store = session.Session(sys.argv[1])
for line in sys.stdin:
    sql, layout = json.loads(line)
    try:
        answer = [True, str(store.query(sql, layout))]
    except Exception as error:
        answer = [False, str(error)]
    print(json.dumps(answer), flush=True)
"""

    def __init__(self, folder: Path) -> None:
        self.parquet = folder / "rows.parquet"
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.SERVER, str(folder / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def query(self, sql: str) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([sql, "JSONEachRow"]) + "\n")
        self.process.stdin.flush()
        fine, text = json.loads(self.process.stdout.readline())
        assert fine, f"{text}\n{sql}"
        return [json.loads(line) for line in text.splitlines()]

    def load(self, df: pl.DataFrame) -> None:
        df = df.with_columns(pl.col("e").cast(pl.String)).with_row_index("row")
        df.write_parquet(self.parquet)
        self.query(TABLE)
        names = ", ".join(df.columns)
        self.query(f"INSERT INTO readings ({names}) SELECT {names} FROM file('{self.parquet}', Parquet)")

    def partials(self, specs: list[MeasureSpec]) -> list[dict[str, Any]]:
        parts = [f"SELECT * FROM ({clickhouse_select(spec, 'readings')})" for spec in specs]
        return ordered(self.query(" UNION ALL ".join(parts)))

    def terms(self, terms: list[Term]) -> list[tuple[int | None, ...]]:
        """Bits of each term in each row; 0.0 stands for -0.0, which no measure can see."""
        bits = [f"reinterpretAsInt64({term.as_number().clickhouse()} + 0.0) AS v{i}" for i, term in enumerate(terms)]
        rows = self.query(f"SELECT {', '.join(bits)} FROM readings ORDER BY row")
        return [tuple(row.values()) for row in rows]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    pytest.importorskip("chdb")
    engine = ClickHouse(tmp_path_factory.mktemp("chdb"))
    yield engine
    engine.close()


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [(row[name] is not None, row[name]) for name in IDENTITY])


# ---------------------------------------------------------------- random terms and rows

literals = st.one_of(
    st.integers(0, 200).map(str),
    st.sampled_from(["0.1", "0.5", "1e3", "3.6", "7.1", "1e-7", "9007199254740992", "0.30000000000000004"]),
    st.floats(0, 1e6, allow_subnormal=False).map(repr),
)
numbers = st.sampled_from(["i", "u", "f", "g", "z", "g", "z", "b"])


@cache
def numeric(depth: int) -> st.SearchStrategy[str]:
    if depth == 0:
        return st.one_of(numbers, literals)
    inner, condition = numeric(depth - 1), conditional(depth - 1)
    return st.one_of(
        numbers,
        literals,
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
        quotient(depth - 1),
        st.builds("{}({})".format, st.sampled_from(["floor", "abs", "sqrt", "-"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["greatest", "least"]), inner, inner),
        st.builds("case when {} then {} else {} end".format, condition, inner, inner),
        st.builds("case when {} then {} when {} then {} end".format, condition, inner, condition, inner),
        st.builds("({})".format, condition),
    )


@cache
def quotient(depth: int) -> st.SearchStrategy[str]:
    """Division by what has a column in it, be it one value in all rows of a batch."""
    divisor = st.one_of(
        numbers,
        st.sampled_from(["z", "abs(z)", "case when true then z end"]),
        st.builds("greatest({}, {})".format, numbers, literals),
        st.builds("case when {} then {} else {} end".format, conditional(0), literals, numbers),
        st.builds("({} * {})".format, literals, numbers),
    )
    return st.builds("{} / {}".format, st.one_of(numbers, numeric(depth)), divisor)


def text_literal(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


@cache
def conditional(depth: int) -> st.SearchStrategy[str]:
    words = st.sampled_from(WORDS).map(text_literal)
    plain = st.one_of(
        st.just("b"),
        st.builds("{} {} {}".format, st.sampled_from("te"), st.sampled_from(["=", "<>"]), words),
        st.builds("{} {}in ({}, {})".format, st.sampled_from("te"), st.sampled_from(["", "not "]), words, words),
        st.builds("{} is {}null".format, st.sampled_from(sorted(COLUMNS)), st.sampled_from(["", "not "])),
        st.builds("{} in ({}, {})".format, numbers, literals, literals),
        st.sampled_from(["true", "false", "t = e", "t <> e"]),
    )
    if depth == 0:
        return plain
    inner, number = conditional(depth - 1), numeric(depth - 1)
    return st.one_of(
        plain,
        st.builds("({} {} {})".format, number, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), number),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not ({})".format, inner),
        st.builds("({} is null)".format, number),
    )


integers = st.one_of(
    st.none(),
    st.integers(-20, 20),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1]),
)
floats = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from([-0.0, 0.0, 5e-324, 1e-9, 9.99e-10, 0.0005, 0.0015, 2.0**53, 9007199254740.992]),
)
tame = st.one_of(st.none(), st.integers(-4000, 4000).map(lambda n: n / 8), st.floats(-1e4, 1e4))
row = st.fixed_dictionaries(
    {
        "city": st.sampled_from(["440100", "HK"]),
        "ts": st.integers(-30_000, 30_000),
        "clock": st.integers(0, 30_000),
        "late": st.booleans(),
        "i": integers,
        "u": st.one_of(st.none(), st.integers(0, 9), st.integers(0, 2**64 - 1)),
        "f": floats,
        "g": tame,
        "b": st.one_of(st.none(), st.booleans()),
        "t": st.one_of(st.none(), st.sampled_from(WORDS)),
        "e": st.one_of(st.none(), st.sampled_from("abc")),
    }
)
SCHEMA: dict[str, Any] = {
    "city": pl.String,
    "ts": pl.Int64,
    "clock": pl.Int64,
    "late": pl.Boolean,
    "i": pl.Int64,
    "u": pl.UInt64,
    "f": pl.Float64,
    "g": pl.Float64,
    "b": pl.Boolean,
    "t": pl.String,
    "e": pl.Enum(["a", "b", "c"]),
}
# Rows as a quiet street sends them: here a last bit shows that extreme values would hide.
ORDINARY = pl.DataFrame(
    [
        {"city": "HK", "ts": n * 997, "clock": n * 1009, "late": n % 7 == 0, "i": n % 13 + 1, "u": n}
        | {"f": n / 8 + 0.1, "g": n * 0.7 - 9, "b": n % 3 > 0, "t": WORDS[n % 7], "e": "abc"[n % 3]}
        for n in range(30)
    ],
    schema=SCHEMA,
)


def _frame(rows: list[dict[str, Any]], ordinary: bool, single: float) -> pl.DataFrame:
    """`z` is one value for all rows, as a join with one device leaves it."""
    df = pl.DataFrame(rows, schema=SCHEMA)
    return (pl.concat([df, ORDINARY]) if ordinary else df).with_columns(pl.lit(single).alias("z"))


frames = st.builds(
    _frame, st.lists(row, min_size=1, max_size=20), st.booleans(), st.sampled_from([7.3, 0.0, -3.1, 1e-10])
)


@st.composite
def terms(draw: st.DrawFn) -> Term:
    shapes = (quotient(0), quotient(2), numeric(3), conditional(2))  # one_of would drown the first two
    text = draw(shapes[draw(st.integers(0, 3))])
    try:
        return Term.parse(text, COLUMNS)
    except TermError:  # constants as divisors, too deep nests of divisors
        assume(False)
        raise


@st.composite
def measures(draw: st.DrawFn) -> MeasureSpec:
    kind = draw(st.sampled_from(MeasureKind))
    where = draw(st.none() | conditional(2))
    key = draw(numeric(2)) if kind is MeasureKind.MAP else None
    edges = draw(st.sampled_from([(), (), (-1.5, 0.0, 0.1, 3.0, 1e6), (2.0,)])) if key else ()
    try:
        return MeasureSpec(
            "x.m",
            "test.feed",
            kind,
            Term.parse(draw(quotient(1) if draw(st.booleans()) else numeric(2)), COLUMNS),
            where=None if where is None else Term.parse(where, COLUMNS),
            key=None if key is None else Term.parse(key, COLUMNS),
            edges=edges,
            decimals=draw(st.sampled_from([3, 0, 6])),
            required=draw(st.frozensets(st.sampled_from(sorted(COLUMNS)), max_size=2)),
            by=draw(st.sampled_from([(), (), ("t",), ("t", "e"), ("e",)])),
            pane_len_s=draw(st.sampled_from([10, 7])),
            pane_of=draw(st.sampled_from(PaneOf)),
        )
    except TermError:  # constants as divisors, too deep nests of divisors
        assume(False)
        raise


measure_lists = st.lists(measures(), min_size=1, max_size=6).map(
    lambda specs: [replace(spec, name=f"x.m{i}") for i, spec in enumerate(specs)]
)


def bits(df: pl.DataFrame, terms: list[Term]) -> list[tuple[int | None, ...]]:
    """As `ClickHouse.terms`; all terms over the same rows share what they compute."""
    rows = Rows(df)
    values = [term.numbers(rows) + 0.0 for term in terms]
    columns = [
        [None if math.isnan(value) else int(bits) for value, bits in zip(one, one.view(np.int64), strict=True)]
        for one in values
    ]
    return list(zip(*columns, strict=True))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(df=frames, some=st.lists(terms(), min_size=1, max_size=8))
def test_a_term_has_the_same_bits_in_both_engines(clickhouse: ClickHouse, df: pl.DataFrame, some: list[Term]) -> None:
    clickhouse.load(df)
    expected = clickhouse.terms(some)
    assert bits(df, some) == expected
    assert [bits(df, [term]) for term in some] == [[(row[at],) for row in expected] for at in range(len(some))]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(df=frames, specs=measure_lists)
def test_numpy_and_clickhouse_give_the_same_partials(
    clickhouse: ClickHouse, df: pl.DataFrame, specs: list[MeasureSpec]
) -> None:
    clickhouse.load(df)
    assert ordered(aggregate(df, specs).to_dicts()) == clickhouse.partials(specs)
