"""The stage `alert`: from indicator rows to transitions of alerts.

Reads `indicators`, writes `alerts`. Settled rows raise and clear, corrected ones may only annul, provisional ones
are for the eye and change nothing. The machines are `pearlstream.alerts`; here is what the log wants of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pearlstream.alerts import DEFAULT_NAMESPACE, Transition, Watch, windows_of
from pearlstream.fold import Output, Record, header, headers_of
from pearlstream.folds import packing
from pearlstream.folds.chains import Chains
from pearlstream.position import Position, Source
from pearlstream.program import Program
from pearlstream.rules import Rules


@dataclass
class AlertState:
    """What `alert` remembers of one partition."""

    source: Source
    upto: int
    watch: Watch
    chains: Chains = field(default_factory=Chains)


class AlertFold:
    """The fold. `rules`: those of the catalogue unless others are given. `namespace`: the prefix of the topics, which
    keeps the ids of a replay apart from live ones."""

    name = "alert"
    version = 1
    source = "indicators"
    targets: tuple[str, ...] = ("alerts",)

    def __init__(self, program: Program, rules: Rules | None = None, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.catalogue = program.catalogue.version
        self.rules = rules or Rules.of(program.catalogue)
        self.namespace = namespace
        self._kind = f"{self.name}@{self.version}/{self.rules.version}/{namespace}"

    def start(self, source: Source, first_offset: int = 0) -> AlertState:
        """State before the first record of a partition."""
        return AlertState(source, first_offset - 1, Watch(self.rules, self.namespace))

    def settled(self, state: AlertState) -> bool:
        """Any moment will do: the state is complete after every record."""
        del state
        return True

    def apply(self, state: AlertState, records: Sequence[Record]) -> tuple[AlertState, list[Output]]:
        """Fold records in order; see `pearlstream.fold.Fold`."""
        outputs: list[Output] = []
        for record in records:
            made = [one for ready in state.chains.ready(record) for one in self._judge(state, ready)]
            if made:
                outputs += self._outputs(state, record, made)
        return state, outputs

    def _judge(self, state: AlertState, record: Record) -> list[Transition]:
        table = pa.ipc.open_stream(record.value).read_all() if record.value else None
        if table is None or not pc.any(pc.not_equal(table["maturity"], "provisional")).as_py():
            return []
        rows = pl.from_arrow(table)
        assert isinstance(rows, pl.DataFrame)
        made: list[Transition] = []
        for _, known in groupby(windows_of(self.rules, rows), key=itemgetter(0)):
            made += state.watch.take(list(known))
        return made

    def _outputs(self, state: AlertState, record: Record, made: Sequence[Transition]) -> list[Output]:
        """One record per transition, all of one range."""
        position = Position(state.source, state.upto, record.offset)
        state.upto = record.offset
        outputs = []
        for number, one in enumerate(made, 1):
            headers: dict[str, str | int] = {
                "from": str(position),
                "part": f"{number}/{len(made)}",
                "clock": header(record.headers, "clock") or one.known_at_ms,
                "fold": f"{self.name}@{self.version}",
                "catalogue": self.catalogue,
            }
            outputs.append(Output("alerts", one.alert_id.encode(), one.encode(), headers_of(headers), record.offset))
        return outputs

    def pack(self, state: AlertState) -> bytes:
        """The state as bytes."""
        meta = {"source": str(state.source), "upto": state.upto, "chains": state.chains.pack()}
        return packing.pack(self._kind, {**meta, "towns": state.watch.pack()}, {"none": np.empty(0)})

    def unpack(self, blob: bytes) -> AlertState:
        """Inverse of `pack`. Raises ValueError if the blob is torn, or of other rules or another namespace."""
        meta, _ = packing.unpack(self._kind, blob)
        watch = Watch(self.rules, self.namespace)
        watch.unpack(meta["towns"])
        return AlertState(Source.parse(meta["source"]), meta["upto"], watch, Chains.unpack(meta["chains"]))
