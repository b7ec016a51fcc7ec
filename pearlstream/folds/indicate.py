"""The stage `indicate`: from partials to indicator rows, city by city.

Reads `rollups`, writes `indicators`. Skips what repeats and holds what lies behind a gap (`chains`); what partials
and clocks bring about is the business of `reckon`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pearlstream.fold import Output, Record, header, headers_of
from pearlstream.folds import packing
from pearlstream.folds.chains import Chains
from pearlstream.folds.reckon import Reckoner, Reckoning, WireRow
from pearlstream.folds.rollup import decode_partials
from pearlstream.frame import expected_partition
from pearlstream.indicators import encode_rows
from pearlstream.position import Position, Source
from pearlstream.program import Program
from pearlstream.registry import EMPTY_VERSION, RegistryBook


@dataclass
class IndicateState:
    """What `indicate` remembers of one partition."""

    source: Source
    upto: int
    reckoning: Reckoning
    chains: Chains = field(default_factory=Chains)


class Indicate:
    """The fold. `partitions`: how many the log has (0: one holds every city). `provisional`: show open windows."""

    name = "indicate"
    version = 2
    source = "rollups"
    targets: tuple[str, ...] = ("indicators",)

    def __init__(self, program: Program, book: RegistryBook, partitions: int = 0, *, provisional: bool = True) -> None:
        self.program = program
        self.book = book
        self.partitions = partitions
        self.reckoner = Reckoner(program, book, "city", provisional=provisional)
        self._kind = f"{self.name}@{self.version}/{program.catalogue.version}"

    def start(self, source: Source, first_offset: int = 0) -> IndicateState:
        """State before the first record of a partition."""
        return IndicateState(source, first_offset - 1, self.reckoner.start(self._cities(source)))

    def _cities(self, source: Source) -> list[str]:
        """The cities whose readings stand in a partition."""
        return [
            city
            for city in self.program.catalogue.cities
            if not self.partitions or expected_partition(city.encode(), self.partitions) == source.partition
        ]

    def settled(self, state: IndicateState) -> bool:
        """Any moment will do: the state is complete after every record."""
        del state
        return True

    def apply(self, state: IndicateState, records: Sequence[Record]) -> tuple[IndicateState, list[Output]]:
        """Fold records in order; see `pearlstream.fold.Fold`."""
        load_registries(self.book, records)
        outputs = []
        for record in records:
            rows = [row for ready in state.chains.ready(record) for row in self._apply(state.reckoning, ready)]
            if rows:
                position = Position(state.source, state.upto, record.offset)
                state.upto = record.offset
                fold = f"{self.name}@{self.version}"
                outputs.append(rows_output(position, state.reckoning.clock, fold, self.program, rows))
        return state, outputs

    def _apply(self, state: Reckoning, record: Record) -> list[WireRow]:
        table = decode_partials(record.value or b"")
        if table is not None:
            self.reckoner.add(state, table)
        clock = int(header(record.headers, "clock") or -1)
        if clock <= state.clock:
            return []
        version = header(record.headers, "registry") or EMPTY_VERSION
        return self.reckoner.advance(state, clock, version, header(record.headers, "sim") == "1")

    def pack(self, state: IndicateState) -> bytes:
        """The state as bytes."""
        meta: dict[str, Any] = {"source": str(state.source), "upto": state.upto, "chains": state.chains.pack()}
        meta["reckoning"], columns = self.reckoner.pack(state.reckoning)
        return packing.pack(self._kind, meta, columns)

    def unpack(self, blob: bytes) -> IndicateState:
        """Inverse of `pack`. Raises ValueError if the blob is torn or of another catalogue.

        The fleets are made anew from the registry, so RegistryMissing is possible, too.
        """
        meta, columns = packing.unpack(self._kind, blob)
        source = Source.parse(meta["source"])
        reckoning = self.reckoner.unpack(meta["reckoning"], columns, self._cities(source))
        return IndicateState(source, meta["upto"], reckoning, Chains.unpack(meta["chains"]))


def load_registries(book: RegistryBook, records: Iterable[Record]) -> None:
    """See to it that every registry that records name is there, before anything is changed. Raises RegistryMissing."""
    for version in {header(record.headers, "registry") or EMPTY_VERSION for record in records}:
        book.at(version)


def rows_output(position: Position, clock: int, fold: str, program: Program, rows: Sequence[WireRow]) -> Output:
    """A record of `indicators`."""
    headers: dict[str, str | int] = {
        "from": str(position),
        "clock": clock,
        "fold": fold,
        "catalogue": program.catalogue.version,
    }
    return Output("indicators", None, encode_rows(rows), headers_of(headers), position.upto)
