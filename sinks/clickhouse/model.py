"""What a schema is made of: columns, tables, views, dictionaries, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Column(NamedTuple):
    """A column. `type`, `codec` and `default` are ClickHouse's text; `comment` is for people.

    `decimals`: the value is stored as an integer, times 10 to this power (None: as it is). `binary`: its strings
    may be any bytes.
    """

    name: str
    type: str
    codec: str = ""
    default: str = ""
    comment: str = ""
    decimals: int | None = None
    binary: bool = False


@dataclass(frozen=True)
class Table:
    """A table. `order_by` are columns, the other texts are ClickHouse's own."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    engine: str
    order_by: tuple[str, ...]
    partition_by: str = ""
    ttl: str = ""
    settings: Mapping[str, int] = field(default_factory=dict)

    @property
    def written(self) -> tuple[Column, ...]:
        """The columns that an insert names: all but those that the store fills in."""
        return tuple(column for column in self.columns if not column.default)


@dataclass(frozen=True)
class View:
    """A view. `select` may name tables of the same database as `{db}.table`."""

    name: str
    meaning: str
    select: str


@dataclass(frozen=True)
class Dictionary:
    """A dictionary over one of our tables, with `key` as its key."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: str
    table: str


@dataclass(frozen=True)
class Schema:
    """Everything that a database holds, in the order in which it can be created."""

    tables: tuple[Table, ...]
    views: tuple[View, ...]
    dictionaries: tuple[Dictionary, ...]

    def table(self, name: str) -> Table:
        """A table by name. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)
