"""SQL as text: quoting, and the statements that make what `model` describes.

Identifiers come from the catalogue or from this folder, are checked and back-quoted; values of statements go
as parameters. Texts of people (units, names) occur in comments only and are quoted as literals.
"""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

import re

from sinks.clickhouse.model import Column, Dictionary, Table, View

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_DECIMALS = re.compile(r"\bdecimals=(\d+)\b")

INSERT_SETTINGS = {
    "async_insert": 0,  # on by default, and then a token is worth nothing
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,  # a year of imported days may come in one cut
    "max_insert_threads": 1,
}
"""Settings of every insert; the token comes on top."""


def quoted(name: str) -> str:
    """A name as an identifier. Raises ValueError if it is not one of ours."""
    if not _IDENTIFIER.match(name):
        raise ValueError(f"not an identifier: {name!r}")
    return f"`{name}`"


def literal(text: str) -> str:
    """A text as a string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'"


def qualified(database: str, name: str) -> str:
    """A table of a database."""
    return f"{quoted(database)}.{quoted(name)}"


def column_comment(column: Column) -> str:
    """The comment that a column carries in the store, which also keeps its decimals."""
    decimals = "" if column.decimals is None else f"decimals={column.decimals}"
    return "; ".join(part for part in (decimals, column.comment) if part)


def stored_decimals(comment: str) -> int | None:
    """The decimals that a stored column comment tells of."""
    found = _DECIMALS.search(comment)
    return int(found[1]) if found else None


def column_definition(column: Column) -> str:
    """A column as it stands in CREATE TABLE and ADD COLUMN."""
    parts = [quoted(column.name), column.type]
    if column.default:
        parts.append(f"DEFAULT {column.default}")
    comment = column_comment(column)
    if comment:
        parts.append(f"COMMENT {literal(comment)}")
    if column.codec:
        parts.append(f"CODEC({column.codec})")
    return " ".join(parts)


def create_database(database: str) -> str:
    """CREATE DATABASE, harmless if it is there."""
    return f"CREATE DATABASE IF NOT EXISTS {quoted(database)}"


def create_table(database: str, table: Table) -> str:
    """CREATE TABLE, harmless if it is there."""
    columns = ",\n  ".join(column_definition(column) for column in table.columns)
    order_by = ", ".join(quoted(name) for name in table.order_by)
    lines = [
        f"CREATE TABLE IF NOT EXISTS {qualified(database, table.name)} (\n  {columns}\n)",
        f"ENGINE = {table.engine}",
    ]
    if table.partition_by:
        lines.append(f"PARTITION BY {table.partition_by}")
    lines.append(f"ORDER BY ({order_by})")
    if table.ttl:
        lines.append(f"TTL {table.ttl}")
    if table.settings:
        lines.append("SETTINGS " + ", ".join(f"{name} = {value}" for name, value in table.settings.items()))
    lines.append(f"COMMENT {literal(table.meaning)}")
    return "\n".join(lines)


def add_column(database: str, table: str, column: Column, after: str) -> str:
    """ALTER TABLE ... ADD COLUMN, harmless if it is there."""
    place = f" AFTER {quoted(after)}" if after else " FIRST"
    return f"ALTER TABLE {qualified(database, table)} ADD COLUMN IF NOT EXISTS {column_definition(column)}{place}"


def comment_column(database: str, table: str, column: Column) -> str:
    """ALTER TABLE ... COMMENT COLUMN."""
    comment = literal(column_comment(column))
    return f"ALTER TABLE {qualified(database, table)} COMMENT COLUMN {quoted(column.name)} {comment}"


def create_view(database: str, view: View, mark: str) -> str:
    """CREATE OR REPLACE VIEW. `mark` stands in its comment, to tell versions apart."""
    select = view.select.replace("{db}", quoted(database))
    return (
        f"CREATE OR REPLACE VIEW {qualified(database, view.name)} AS\n{select}\n"
        f"COMMENT {literal(f'{view.meaning} [{mark}]')}"
    )


def create_dictionary(database: str, dictionary: Dictionary, mark: str) -> str:
    """CREATE OR REPLACE DICTIONARY over one of our tables."""
    columns = ", ".join(f"{quoted(column.name)} {column.type}" for column in dictionary.columns)
    return (
        f"CREATE OR REPLACE DICTIONARY {qualified(database, dictionary.name)} ({columns})\n"
        f"PRIMARY KEY {quoted(dictionary.key)}\n"
        f"SOURCE(CLICKHOUSE(DB {literal(database)} TABLE {literal(dictionary.table)}))\n"
        f"LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(MIN 30 MAX 60)\n"
        f"COMMENT {literal(f'{dictionary.meaning} [{mark}]')}"
    )


def newest_batches(database: str) -> str:
    """The newest line of the journal for each topic and each of its lives, found by index however long it is."""
    table = qualified(database, "batches")
    return (
        f"SELECT topic_id, topic, cut, ranges, state_no, applied, tables FROM {table} FINAL"
        f" WHERE (topic_id, topic, cut) IN (SELECT topic_id, topic, max(cut) FROM {table} GROUP BY topic_id, topic)"
    )


def single(database: str, table: str, expression: str) -> str:
    """One number or text about a table; `expression` is text of ours."""
    return f"SELECT {expression} FROM {qualified(database, table)}"
