"""A live log of a small town, and files of what its detectors measured before it began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from mend_world import Run
from sink_world import T0, drain

from deploy.history.files import FilesHistory
from pearlstream.catalogue import Catalogue
from pearlstream.program import Program
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from producers.importer import Import, parse_mapping, resolve
from sinks.clickhouse.ledger import Ledger, run_ledger

CITY = "441900"
"""Where the live log has no detectors."""
DAY_MS = 86_400_000
MINUTE_MS = 60_000
START = T0 - 6 * DAY_MS
"""The first day of the files."""
FEED = "traffic.flow"

MAPPING = {
    "name": "roads",
    "feed": FEED,
    "city": "{city}",
    "device": "{who}",
    "cadence_s": 300,
    "time": {"column": "t", "zone": "UTC"},
    "fields": {"flow_vpm": "flow", "speed_kmh": "speed", "occ_pct": "occ"},
    "registry": {
        "zone": "core",
        "site": "s1",
        "attrs": {"freeflow_kmh": 60.0, "seg_len_m": 60.0, "capacity_vpm": 60.0, "road_class": "motorway"},
    },
}


def line(at_ms: int, who: str, city: str = CITY, *, flow: float = 10.0, speed: float = 50.0, occ: float = 5.0) -> str:
    """A line of a file."""
    when = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return f"{when},{city},{who},{flow},{speed},{occ}"


def lines(
    start: int = START,
    hours: int = 48,
    devices: Sequence[str] = ("old1", "old2"),
    city: str = CITY,
    step_ms: int = 5 * MINUTE_MS,
    gap: range = range(0),
) -> list[str]:
    """Lines of some devices, one each five minutes; none in the hours of `gap`."""
    rows = []
    for number, at in enumerate(range(start, start + hours * 3_600_000, step_ms)):
        if (at - start) // 3_600_000 in gap:
            continue
        for place, who in enumerate(devices):
            value = (number * 7 + place * 3) % 40
            rows.append(line(at + 1000, who, city, flow=value, speed=20.0 + value, occ=value / 2))
    return rows


def file_of(folder: Path, rows: Sequence[str], name: str = "a.csv") -> Path:
    """A file with a header."""
    path = folder / name
    path.write_text("\n".join(["t,city,who,flow,speed,occ", *rows]) + "\n")
    return path


@contextmanager
def job_of(program: Program, files: Sequence[Path], **changes: Any) -> Iterator[Import]:
    """A prepared import."""
    resolved = resolve(parse_mapping({**MAPPING, **changes}), program.catalogue, "roads.toml")
    with Import(resolved, program) as job:
        job.prepare(files)
        yield job


@contextmanager
def history_of(program: Program, *files: Path, **changes: Any) -> Iterator[FilesHistory]:
    """Files as history."""
    with job_of(program, files, **changes) as job:
        yield FilesHistory(job, files)


class Spoilt:
    """History with a frame in it that nobody can read, sent before all others."""

    def __init__(self, history: FilesHistory) -> None:
        self._history = history
        self.feed, self.scope = history.feed, {**history.scope, "spoilt": True}
        self.days, self.devices = history.days, history.devices

    def records(self, days: Any) -> Iterator[tuple[bytes | None, bytes, Any]]:
        records = self._history.records(days)
        yield next(records)
        yield CITY.encode(), b"rubbish", ((b"content-type".decode(), b"application/json"), ("gateway", b"import-roads"))
        yield from records


class Halves:
    """Readings of some detectors, a minute apart: all of them live, or every other one live and the rest as lines.

    They change slowly, so that no flag depends on what a detector said before.
    """

    def __init__(self, catalogue: Catalogue, minutes: int = 40) -> None:
        self.feed, self.minutes = catalogue.feeds[FEED], minutes
        self.catalogue = catalogue
        self.rows: list[str] = []

    def played(self, *, whole: bool) -> Run:
        """A live log; its clock has come to T0 when it ends. Speaks at the start of minutes, as files do."""
        world = Run(self.catalogue, 1, provisional=False)
        world.indicating = True
        world.register(self.feed, CITY, 3)
        world.tick(START)
        for minute in range(self.minutes):
            at = START + minute * MINUTE_MS
            values = {
                "flow_vpm": [5.0 + minute / 4 + n for n in range(3)],
                "speed_kmh": [60.0 - minute / 2 + n for n in range(3)],
                "occ_pct": [3.0 + minute / 4 + n for n in range(3)],
            }
            if whole or minute % 2 == 0:
                nothing = dict.fromkeys(self.feed.fields)
                columns = {name: np.array(values[name]) if name in values else [None] * 3 for name in nothing}
                world.frame(self.feed, CITY, at, 3, **columns)
            else:
                self.rows += [
                    line(at + n, f"d{n}", flow=values["flow_vpm"][n], speed=values["speed_kmh"][n],
                         occ=values["occ_pct"][n])
                    for n in range(3)
                ]  # fmt: skip
            world.tick(at + MINUTE_MS)
        for hour in range(1, 6 * 24):
            world.tick(START + self.minutes * MINUTE_MS + hour * 3_600_000)
        world.tick(T0)
        return world


def stored_as_if_live(program: Program, store: Store, *files: Path, **changes: Any) -> None:
    """The same files through a log of their own, every stage and the sink, into a store of its own."""
    world = Run(program.catalogue, 1, provisional=False)
    world.indicating = True
    with job_of(program, files, **changes) as job:
        for record in job.book.records():
            world.register_value(record)
        for step in job.steps():
            for frame in step.frames:
                world.send(frame.city, frame.payload(), frame.headers(None))
            world.tick(step.clock_ms)
    drain(world, store)


def panes(store: Store, before: int = T0 - DAY_MS) -> list[tuple[Any, ...]]:
    """Merged panes of the past."""
    of = {"before": before}
    table = f"`{store.database}`.rollups_v"
    return store.query(
        f"SELECT * FROM {table} WHERE pane_ms < fromUnixTimestamp64Milli({{before:Int64}}) ORDER BY ALL", of
    )


SAID = (
    "SELECT toString(indicator), toString(city), toString(dims), toUnixTimestamp64Milli(window_start_ms),"
    " toUnixTimestamp64Milli(window_end_ms) AS end, value, toString(state), coverage, n, numerator, denominator"
)


def windows(store: Store, chosen: str = "1") -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What settled windows of the past say, by indicator, city, dimensions and window."""
    text = f"{SAID} FROM `{store.database}`.indicators FINAL WHERE rev >= 0 AND end < {T0 - DAY_MS} AND {chosen}"
    return {row[:5]: row[5:] for row in store.query(text)}


def history_rows(store: Store) -> list[tuple[Any, ...]]:
    """Every revision that was ever written, of the past."""
    text = f"{SAID}, rev FROM `{store.database}`.indicators_history WHERE rev >= 0 AND end < {T0 - DAY_MS} ORDER BY ALL"
    return store.query(text)


def everything_live(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What the live log brought about: nothing of it may change."""
    database = f"`{store.database}`"
    recent = f"fromUnixTimestamp64Milli({T0 - DAY_MS})"
    return {
        "panes": store.query(f"SELECT * FROM {database}.rollups_v WHERE pane_ms >= {recent} ORDER BY ALL"),
        "windows": store.query(
            f"SELECT * EXCEPT stored_at FROM {database}.indicators FINAL WHERE window_end_ms >= {recent} ORDER BY ALL"
        ),
        "alerts": store.query(f"SELECT * EXCEPT stored_at FROM {database}.alerts FINAL ORDER BY ALL"),
        "frames": store.query(
            f"SELECT * EXCEPT stored_at FROM {database}.frames FINAL"
            " WHERE NOT startsWith(topic_id, 'history-') ORDER BY ALL"
        ),
        "devices": store.query(f"SELECT * EXCEPT stored_at FROM {database}.devices FINAL ORDER BY ALL"),
    }


def checked(store: Store) -> Ledger:
    """The ledger, which must be exact and have compared everything."""
    ledger = run_ledger(store, drained=True)
    assert ledger.panes
    assert ledger.exact, ledger.findings
    return ledger


class Killed(BaseException):
    """What a process that is killed does not catch."""


class Fragile(Store):
    """A store whose user dies at write number `at`: before it is done, or after it and never answered."""

    def __init__(self, settings: ClickHouse, at: int, *, done: bool) -> None:
        super().__init__(settings)
        self.at, self.done, self.writes = at, done, 0

    def _dies(self, *, after: bool) -> None:
        self.writes += not after
        if self.writes > self.at or (self.writes == self.at and after == self.done):
            raise Killed

    def insert(self, *args: Any, **options: Any) -> None:
        self._dies(after=False)
        super().insert(*args, **options)
        self._dies(after=True)

    def command(self, *args: Any, **options: Any) -> None:
        self._dies(after=False)
        super().command(*args, **options)
        self._dies(after=True)
