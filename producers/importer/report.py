"""What an import says of itself: to people as tables, to programs as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pearlstream.catalogue.models import FieldSpec
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Folded
from producers.importer.job import Import
from producers.importer.problems import NOTES, ROW_REASONS
from producers.importer.send import Sent

MANY = 20
"""Devices that are listed."""


def instant(ms: int) -> str:
    """A time as people and programs read it: ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_json(job: Import, prefix: str, database: str, sent: Sent | None, folded: Folded | None) -> dict[str, Any]:
    """The report of an import; `sent` and `folded` are null where nothing was sent or computed."""
    book, survey = job.book, job.survey
    body: dict[str, Any] = {
        "name": job.resolved.mapping.name,
        "feed": job.resolved.feed.id,
        "files": [{"file": path, "encoding": w.encoding, "delimiter": w.delimiter, "decimal": w.decimal}
                  for path, w in survey.written.items()],
        "rows": survey.rows,
        "readings": survey.readings,
        "rejected": dict(sorted(job.rejects.counts.items())),
        "rejects_file": str(job.rejects.path) if job.rejects.path and job.rejects.total else None,
        "notes": dict(sorted(survey.notes.items())),
        "outside_range": dict(sorted(survey.outside.items())),
        "devices": [
            {"device": device, "city": city, "from": instant(one.first_ms), "to": instant(one.last_ms),
             "readings": one.readings, "cadence_s": book.cadence_of(device)}
            for (city, device), one in sorted(book.seen.items())
        ],
        "unheard": book.unheard,
        "from": instant(book.first_ms),
        "to": instant(book.last_ms),
        "measured_cadence_s": book.measured_cadence_s(),
        "prefix": prefix,
        "database": database,
        "sent": None if sent is None else asdict(sent),
        "folded": None,
    }  # fmt: skip
    if folded is not None:
        body["folded"] = {
            "accepted": folded.accepted,
            "duplicate": folded.duplicate,
            "late": folded.late,
            "quarantined": folded.quarantined,
            "fingerprint": fingerprint(folded.indicators)[1],
            "indicators": summary(folded).to_dicts(),
        }
    return body


def summary(folded: Folded) -> pl.DataFrame:
    """Settled windows by indicator and dimensions: how many, how many without value, least, median, greatest."""
    if not len(folded.indicators):
        return pl.DataFrame()
    newest = folded.indicators.filter(pl.col("rev") >= 0).sort("rev").unique(
        ["indicator", "city", "dims", "window_end_ms"], keep="last", maintain_order=True
    )  # fmt: skip
    return (
        newest.group_by("indicator", "city", "dims")
        .agg(
            pl.len().alias("windows"),
            pl.col("value").null_count().alias("nodata"),
            (pl.col("state") == "RAISED").sum().alias("raised"),
            pl.col("value").min().alias("min"),
            pl.col("value").median().alias("median"),
            pl.col("value").max().alias("max"),
        )
        .sort("indicator", "city", "dims")
    )


def tell(console: Console, job: Import, *, dry: bool) -> None:
    """What was found in the files, for a person."""
    survey, book = job.survey, job.book
    console.print(
        f"[bold]{survey.readings}[/] readings of [bold]{job.resolved.feed.id}[/] in {survey.rows} rows, "
        f"{instant(book.first_ms)} to {instant(book.last_ms)}"
    )
    if dry:
        _head(console, job)
    _devices(console, job)
    _counts(console, "rows not sent", job.rejects.counts, ROW_REASONS, job.rejects.examples)
    _counts(console, "sent, but", survey.notes, NOTES, {})
    for name, count in sorted(survey.outside.items()):
        console.print(f"  {name}: {count} values outside {_range(job.resolved.feed.fields[name])}")
    if job.rejects.path and job.rejects.total:
        console.print(f"the rows that were not sent stand in [bold]{escape(str(job.rejects.path))}[/]")
    measured = book.measured_cadence_s()
    told = job.resolved.mapping.cadence_s
    if told and measured and not 0.5 < measured / told < 2:
        console.print(f"[yellow]the mapping says cadence_s = {told:g}, the files say {measured:g}[/]")


def _range(spec: FieldSpec) -> str:
    """The plausible range of a field: `0..500 ug/m3`, `0.. %`."""
    low, high = ("" if bound is None else f"{bound:g}" for bound in (spec.min, spec.max))
    return f"{low}..{high} {spec.unit}".strip()


def _head(console: Console, job: Import) -> None:
    """The first readings, with the fields that are mapped, in the feed's units."""
    head, feed = job.survey.head, job.resolved.feed
    fields = [name for name in feed.fields if name in job.survey.fields]
    table = Table(title="first readings", title_justify="left", box=None)
    for title in ("time (UTC)", "device"):
        table.add_column(title, no_wrap=True)
    for name in fields:
        table.add_column(f"{name}\n{feed.fields[name].unit}", justify="right")
    for row in head.iter_rows(named=True):
        table.add_row(instant(row["ts"]), row["device"], *(_cell(row[name]) for name in fields))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else escape(str(value))


def _devices(console: Console, job: Import) -> None:
    book = job.book
    table = Table(title=f"{len(book.seen)} devices", title_justify="left", box=None)
    for title in ("device", "city", "from", "to", "readings", "cadence"):
        table.add_column(title, justify="right" if title in ("readings", "cadence") else "left", no_wrap=True)
    for (city, device), one in sorted(book.seen.items())[:MANY]:
        span = f"{book.cadence_of(device):g} s"
        table.add_row(device, city, instant(one.first_ms), instant(one.last_ms), str(one.readings), span)
    console.print(table)
    if len(book.seen) > MANY:
        console.print(f"and {len(book.seen) - MANY} more")
    if book.unheard:
        console.print(f"described in the mapping, but not in these files: {', '.join(book.unheard)}")


def _counts(
    console: Console, title: str, counts: Mapping[str, int], meaning: Mapping[str, str], examples: Mapping[str, str]
) -> None:
    if not counts:
        return
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        table.add_row(reason, str(count), escape(examples.get(reason, meaning.get(reason, ""))))
    console.print(table)


def tell_folded(console: Console, job: Import, folded: Folded) -> None:
    """What the indicators say of the files, for a person."""
    refused = sum(folded.quarantined.values())
    console.print(f"{folded.accepted} readings accepted, {folded.late} late, {refused} refused")
    table = Table(title="settled windows", title_justify="left", box=None)
    titles = ("indicator", "city", "dims", "windows", "no data", "raised", "least", "median", "greatest")
    for title in titles:
        table.add_column(title, justify="left" if title in ("indicator", "city", "dims") else "right")
    for row in summary(folded).iter_rows(named=True):
        name = job.program.catalogue.indicators[row["indicator"]].name.en
        numbers = ["" if row[key] is None else f"{row[key]:.4g}" for key in ("min", "median", "max")]
        counts = [str(row[key]) for key in ("windows", "nodata", "raised")]
        table.add_row(f"{row['indicator']} {name}", row["city"], row["dims"], *counts, *numbers)
    console.print(table)


def what_next(prefix: str, database: str, overlays: Sequence[str]) -> str:
    """The commands that turn the log into stored indicators."""
    lines = [f"export PEARLSTREAM_KAFKA__PREFIX={prefix} PEARLSTREAM_CLICKHOUSE__DATABASE={database}"]
    if overlays:
        listed = ", ".join(f'"{folder}"' for folder in overlays)
        lines.append(f"export PEARLSTREAM_CATALOGUE__OVERLAYS='[{listed}]'")
    return "\n".join(
        [*lines, "pearlstream store migrate", "pearlstream worker     # and, beside it:", "pearlstream sink"]
    )
