"""A small feed with every kind of field, and imports of it in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pearlstream.program import Program
from producers.importer import Import, Survey, parse_mapping, resolve
from producers.importer.csvrows import CHUNK_ROWS
from producers.importer.dialect import Confirm
from producers.importer.rejects import HEADER

KIT = """
[[feed]]
id = "test.kit"
name = { en = "Kit", zh = "测试" }
device = "a box of parts"
cadence_s = 60
seq = "optional"

[feed.fields]
temp_c = { unit = "Cel", min = -40, max = 60, decimals = 1 }
speed_kmh = { unit = "km/h", min = 0, max = 130, decimals = 1 }
share_pct = { unit = "%", min = 0, decimals = 1 }
press_hpa = { unit = "hPa", min = 800, max = 1100, hard = true, decimals = 1 }
count = { type = "int", unit = "pcs" }
on = { type = "bool" }
state = { type = "enum", values = ["RUN", "IDLE"] }
remark = { type = "text" }

[feed.static]
limit_kmh = { unit = "km/h" }
lanes = { type = "int" }
kind = { type = "enum", values = ["loop", "radar"] }

[[feed]]
id = "test.strict"
name = { en = "Strict", zh = "测试" }
device = "a box"
cadence_s = 60
seq = "required"
[feed.fields]
x = {}

[[feed]]
id = "test.needs"
name = { en = "Needs", zh = "测试" }
device = "a box"
cadence_s = 60
seq = "none"
[feed.fields]
x = { required = true }
y = {}
"""

CITIES = """
[[city]]
id = "XX-A"
name = { en = "A", zh = "甲" }
lon = 1.0
lat = 2.0
population = 1000
utc_offset_h = 0

[[city]]
id = "XX-B"
name = { en = "B", zh = "乙" }
lon = 3.0
lat = 4.0
population = 2000
utc_offset_h = 8
"""


def kit_overlay(folder: Path) -> Path:
    """An overlay folder with the test feeds and cities."""
    for name, text in (("feeds", KIT), ("cities", CITIES)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "kit.toml").write_text(text, "utf-8")
    return folder


def kit_mapping(**changes: Any) -> dict[str, Any]:
    """A mapping of columns `t`, `who`, `temp`; keys given replace whole tables, None leaves one out."""
    data: dict[str, Any] = {
        "name": "kit",
        "feed": "test.kit",
        "city": "XX-A",
        "device": "{who}",
        "time": {"column": "t", "zone": "UTC"},
        "fields": {"temp_c": "temp"},
    }
    data |= changes
    return {key: value for key, value in data.items() if value is not None}


@dataclass
class Outcome:
    """What an import of the kit made. `rejects`: (file, row, reason, message)."""

    survey: Survey
    readings: pl.DataFrame
    rejects: list[tuple[str, int, str, str]]
    records: list[bytes]
    log: list[Any]
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[int, str]:
        """Reason by row."""
        return {row: reason for _, row, reason, _ in self.rejects}

    def column(self, name: str) -> list[Any]:
        """One column of the readings."""
        return self.readings[name].to_list()


@dataclass
class Kit:
    """Imports texts as files."""

    program: Program = field(repr=False)
    folder: Path

    def files(self, texts: Mapping[str, str | bytes]) -> list[Path]:
        """Write files and return their paths."""
        paths = []
        for name, text in texts.items():
            path = self.folder / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(path)
        return paths

    def read(
        self,
        texts: str | bytes | Mapping[str, str | bytes],
        mapping: dict[str, Any] | None = None,
        *,
        told: Mapping[str, str] | None = None,
        confirm: Confirm | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> Outcome:
        """Import one text, or several files by name."""
        paths = self.files({"a.csv": texts} if isinstance(texts, str | bytes) else texts)
        resolved = resolve(parse_mapping(mapping or kit_mapping()), self.program.catalogue, "kit.toml", told)
        rejects = self.folder / "rejects.csv"
        with Import(resolved, self.program, rejects=rejects, confirm=confirm, chunk_rows=chunk_rows) as job:
            survey = job.prepare(paths)
            log = [
                (step.clock_ms, [(frame.city, frame.rows, frame.payload()) for frame in step.frames])
                for step in job.steps()
            ]
            return Outcome(
                survey,
                pl.concat(list(job.readings())),
                read_rejects(rejects),
                list(job.book.records()),
                log,
                survey.notes,
            )


def read_rejects(path: Path) -> list[tuple[str, int, str, str]]:
    """The rejects file, empty if there is none."""
    if not path.exists():
        return []
    frame = pl.read_csv(path, infer_schema=False)
    assert frame.columns == list(HEADER)
    return [(file, int(row), reason, message) for file, row, reason, message in frame.iter_rows()]


def lines(*rows: str, header: str = "t,who,temp") -> str:
    """A CSV text of rows under a header."""
    return "\n".join((header, *rows)) + "\n"


def minutes(temps: Iterable[str], who: str = "d1") -> str:
    """Rows of one device, a minute apart, from 2016-01-01 00:00 on."""
    return lines(*(f"2016-01-01 {m // 60:02d}:{m % 60:02d},{who},{temp}" for m, temp in enumerate(temps)))


SHARED = Path(__file__).parents[4] / "shared" / "data"
"""Real recordings beside the checkout; not everybody has them."""
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}")
