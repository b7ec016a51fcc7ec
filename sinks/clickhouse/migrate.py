"""Migrations: what is missing in a database for a catalogue, and bringing it there.

The script is generated: wanted schema minus what the database has. It only ever adds; applied scripts are kept,
numbered, in `schema_versions`, in the layout of the tool `clickhouse-migrations`, so that one can change over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pearlstream.catalogue import Catalogue
from pearlstream.errors import CatalogueError
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse import sql
from sinks.clickhouse.arrow import rows_table, stream
from sinks.clickhouse.catalogue_tables import catalogue_rows
from sinks.clickhouse.model import Column, Schema, Table
from sinks.clickhouse.schema import build_schema

VERSIONS = Table(
    name="schema_versions",
    meaning="migrations that were applied",
    columns=(
        Column("version", "UInt32"),
        Column("md5", "String"),
        Column("script", "String"),
        Column("created_at", "DateTime", default="now()"),
    ),
    engine="MergeTree",
    order_by=("created_at",),
)
_UNKNOWN_DATABASE = 81


class Stored(NamedTuple):
    """A column as the database has it."""

    type: str
    comment: str


@dataclass(frozen=True)
class Plan:
    """What a migration would do: statements in their order; none if the database is as it should be.

    `fill`: the catalogue tables are to be written anew. `version`: the number the migration will have.
    """

    version: int
    statements: tuple[str, ...]
    fill: bool

    @property
    def empty(self) -> bool:
        """Nothing to do."""
        return not self.statements and not self.fill

    @property
    def script(self) -> str:
        """The statements as one text."""
        return ";\n\n".join(self.statements)

    @property
    def md5(self) -> str:
        """What `schema_versions` keeps of the script."""
        return hashlib.md5(self.script.encode(), usedforsecurity=False).hexdigest()


def plan(store: Store, catalogue: Catalogue) -> Plan:
    """What is missing. Raises CatalogueError if the catalogue contradicts what is stored, StoreError."""
    schema = build_schema(catalogue)
    columns, comments = _stored(store)
    statements: list[str] = []
    if VERSIONS.name not in columns:
        statements += [sql.create_database(store.database), sql.create_table(store.database, VERSIONS)]
    for table in schema.tables:
        if table.name not in columns:
            statements.append(sql.create_table(store.database, table))
        else:
            statements += _changes(store.database, table, columns[table.name])
    statements += _replaced(store.database, schema, comments)
    fill = _filled(store, columns) != _mark(repr(catalogue_rows(catalogue)))
    return Plan(_last_version(store, columns) + 1, tuple(statements), fill)


def migrate(store: Store, catalogue: Catalogue) -> Plan:
    """Bring the database to the catalogue; says what was done. Running it again does nothing.

    A crash in the middle leaves a database that the next run completes. Raises as `plan`.
    """
    todo = plan(store, catalogue)
    for statement in todo.statements:
        store.command(statement)
    if todo.fill:
        _fill(store, catalogue)
    if todo.statements:
        row = {"version": todo.version, "md5": todo.md5, "script": todo.script}
        body = stream(rows_table(VERSIONS, [row]))
        store.insert(sql.qualified(store.database, VERSIONS.name), ["version", "md5", "script"], body)
    return todo


def check(store: Store, catalogue: Catalogue) -> None:
    """Raise StoreError (SCHEMA) if the database is not migrated to this catalogue."""
    missing = plan(store, catalogue)
    if missing.statements:
        raise StoreError(
            f"the database {store.database} lacks {len(missing.statements)} things that the catalogue declares",
            trouble=Trouble.SCHEMA,
        )


# ---------------------------------------------------------------- what is there


def _stored(store: Store) -> tuple[dict[str, dict[str, Stored]], dict[str, str]]:
    """Columns by table and name, and the comment of each table, view and dictionary."""
    columns: dict[str, dict[str, Stored]] = {}
    of = {"database": store.database}
    for table, name, type_, comment in store.query(
        "SELECT table, name, type, comment FROM system.columns WHERE database = {database:String} ORDER BY position", of
    ):
        columns.setdefault(table, {})[name] = Stored(type_, comment)
    rows = store.query(
        "SELECT name, comment FROM system.tables WHERE database = {database:String}"
        " UNION ALL SELECT name, comment FROM system.dictionaries WHERE database = {database:String}",
        of,
    )
    comments: dict[str, str] = {}
    for name, comment in rows:
        comments[name] = comments.get(name, "") + comment
    return columns, comments


def _last_version(store: Store, columns: Mapping[str, object]) -> int:
    if VERSIONS.name not in columns:
        return 0
    rows = store.query(sql.single(store.database, VERSIONS.name, "max(version)"))
    return int(rows[0][0])


# ---------------------------------------------------------------- what to do


def _changes(database: str, table: Table, stored: Mapping[str, Stored]) -> list[str]:
    """Columns to add to a table. Raises CatalogueError for what cannot be changed under stored rows."""
    statements, before = [], ""
    for column in table.columns:
        have = stored.get(column.name)
        if have is None:
            statements.append(sql.add_column(database, table.name, column, before))
        else:
            _same(table, column, have)
            if have.comment != sql.column_comment(column):
                statements.append(sql.comment_column(database, table.name, column))
        before = column.name
    return statements


def _same(table: Table, column: Column, have: Stored) -> None:
    """Refuse a column whose stored values would change their meaning."""
    remedy = (
        "stored values would change their meaning: give the field a new name, or use another database "
        "(PEARLSTREAM_CLICKHOUSE__DATABASE)"
    )
    if have.type.replace("`", "") != column.type.replace("`", ""):  # versions of the store quote differently
        raise CatalogueError(
            f"{table.name}.{column.name} is stored as {have.type}, the catalogue now wants {column.type}", remedy=remedy
        )
    decimals = sql.stored_decimals(have.comment)
    if column.decimals is not None and decimals is not None and decimals != column.decimals:
        raise CatalogueError(
            f"{table.name}.{column.name} is stored with {decimals} decimals, the catalogue now wants {column.decimals}",
            remedy=remedy,
        )


def _replaced(database: str, schema: Schema, comments: Mapping[str, str]) -> list[str]:
    """Views and dictionaries that are not there as they should be."""
    statements = []
    for view in schema.views:
        mark = _mark(view.select)
        if f"[{mark}]" not in comments.get(view.name, ""):
            statements.append(sql.create_view(database, view, mark))
    for dictionary in schema.dictionaries:
        mark = _mark(repr(dictionary))
        if f"[{mark}]" not in comments.get(dictionary.name, ""):
            statements.append(sql.create_dictionary(database, dictionary, mark))
    return statements


def _mark(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:12]


# ---------------------------------------------------------------- the catalogue's own tables

_FILLED = "catalogue_filled"


def _filled(store: Store, columns: Mapping[str, object]) -> str:
    """The mark of the rows that the catalogue tables hold, or nothing."""
    if _FILLED not in columns:
        return ""
    rows = store.query(sql.single(store.database, _FILLED, "anyLast(mark)"))
    return str(rows[0][0]) if rows else ""


def _fill(store: Store, catalogue: Catalogue) -> None:
    """Write the catalogue tables anew, each exchanged at once for a new one, and last the mark that says so."""
    rows = catalogue_rows(catalogue)
    tables = [table for table in build_schema(catalogue).tables if table.name in rows]
    mark = Table(
        _FILLED, "which catalogue the catalogue tables hold", (Column("mark", "String"),), "MergeTree", ("mark",)
    )
    store.command(sql.create_table(store.database, mark))
    rows[_FILLED] = [{"mark": _mark(repr(catalogue_rows(catalogue)))}]
    for table in (*tables, mark):
        new = Table(f"{table.name}__new", table.meaning, table.columns, table.engine, table.order_by)
        store.command(f"DROP TABLE IF EXISTS {sql.qualified(store.database, new.name)}")
        store.command(sql.create_table(store.database, new))
        if rows[table.name]:
            names = [column.name for column in table.written]
            body = stream(rows_table(table, rows[table.name]))
            store.insert(sql.qualified(store.database, new.name), names, body)
        both = f"{sql.qualified(store.database, new.name)} AND {sql.qualified(store.database, table.name)}"
        store.command(f"EXCHANGE TABLES {both}")
        store.command(f"DROP TABLE {sql.qualified(store.database, new.name)}")
