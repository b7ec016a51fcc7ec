"""What loading history is about: what is to be loaded, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pearlstream.fold import Headers

KIND = "import"
"""What such an act is called in the table `acts`."""
DAY_MS = 86_400_000

Tell = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


class History(Protocol):
    """Recorded readings of one feed, in order of time; the same ones whenever they are asked for."""

    @property
    def feed(self) -> str:
        """The feed."""
        ...

    @property
    def scope(self) -> Mapping[str, Any]:
        """What tells these readings from others, as JSON has it: who is killed goes on where the scope is the same."""
        ...

    def days(self) -> Mapping[str, int]:
        """Readings by day (UTC, as 2026-11-24), rising."""
        ...

    def devices(self) -> Sequence[bytes]:
        """Who speaks in them, as records of the topic `devices`."""
        ...

    def records(self, days: Collection[str]) -> Iterator[tuple[bytes | None, bytes, Headers]]:
        """Frames and ticks of a log that holds the readings of some days: key, value and headers."""
        ...


@dataclass(frozen=True)
class Refused:
    """A day that is not loaded, and why."""

    day: str
    readings: int
    why: str


@dataclass
class Loaded:
    """What became of readings: those of a day by the log's clock, or of all.

    `fresh` are stored now, `known` were in the store before; `panes` of the days concerned came out differently.
    """

    day: str = ""
    readings: int = 0
    fresh: int = 0
    known: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    panes: int = 0

    def add(self, other: Loaded) -> None:
        """Add up."""
        for name in ("readings", "fresh", "known", "panes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, rows in other.quarantined.items():
            self.quarantined[reason] = self.quarantined.get(reason, 0) + rows


@dataclass
class Result:
    """What came of it. `act`: its number, 0 if nothing was done; `windows`: of indicators that say something new."""

    act: int = 0
    resumed: bool = False
    days: list[Loaded] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    windows: int = 0

    @property
    def total(self) -> Loaded:
        """All days together."""
        total = Loaded()
        for one in self.days:
            total.add(one)
        return total

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        total = asdict(self.total)
        del total["day"]
        return {**asdict(self), "total": total}
