"""Bases from history: hour-of-week medians of what indicators declare under `bases`.

`learnable` turns a catalogue into one whose indicators *are* the values to be learned, so that the very folds that
will use a base also compute what it is learned from; `medians` turns the rows of such a run into bases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.bases import HOUR_MS, HOURS, Ordinary, hour_of_week
from pearlstream.catalogue.indicator import Base, Indicator
from pearlstream.program import IndicatorProgram, compile_catalogue
from pearlstream.registry import Registry
from pearlstream.rows import Rows

WEEK_MS = HOURS * HOUR_MS
LATEST_WEEKS = 4
"""Only so much of the latest history counts: what is ordinary changes with the season."""

Units = Callable[[str, str, int], float]
"""How many units of a base stood in a city at a moment: id of the learnable indicator, city, ms."""


class Wanted(NamedTuple):
    """A base that is declared: of which indicator, under which name."""

    indicator: str
    name: str
    declared: Base


@dataclass(frozen=True)
class Learnable:
    """A catalogue whose indicators are raw base values, and what each stands for, by its id there."""

    catalogue: Catalogue
    wanted: Mapping[str, Wanted]
    feeds: tuple[str, ...]

    @property
    def programs(self) -> dict[str, IndicatorProgram]:
        """The compiled indicators by id. Raises CatalogueError as `compile_catalogue` does."""
        return {one.indicator.id: one for one in compile_catalogue(self.catalogue).indicators}


def learnable(catalogue: Catalogue, only: Iterable[str] = ()) -> Learnable:
    """The bases that are declared, of these indicators only if any are named. Indicators per feed have none."""
    chosen = frozenset(only)
    wanted = {
        f"B{number:03}": Wanted(indicator.id, name, base)
        for number, (indicator, name, base) in enumerate(
            (one, name, base)
            for one in catalogue.indicators.values()
            if one.per == "city" and (not chosen or one.id in chosen)
            for name, base in one.bases.items()
        )
    }
    made = {id_: _raw(catalogue.indicators[one.indicator], id_, one.declared) for id_, one in wanted.items()}
    measured = {measure.feed for one in made.values() for measure in one.measures.values()}
    feeds = catalogue.feeds if "*" in measured else measured
    return Learnable(
        replace(catalogue, indicators=made), wanted, tuple(name for name in catalogue.feeds if name in feeds)
    )


def _raw(indicator: Indicator, id_: str, base: Base) -> Indicator:
    """The indicator whose value is what a base is the median of."""
    changes: dict[str, object] = {
        "id": id_,
        "value": base.value,
        "bases": {},
        "alert": None,
        "dims": (),
        "total": False,
        "smooth_s": None,
    }
    return indicator.model_copy(update=changes)


def units_in(registry: Registry, programs: Mapping[str, IndicatorProgram], wanted: Mapping[str, Wanted]) -> Units:
    """Devices in service, or the sum of their static field, by what each base is declared to grow with."""
    fleets: dict[tuple[str, str], tuple[pl.DataFrame, str]] = {}

    def fleet(id_: str, city: str) -> tuple[pl.DataFrame, str]:
        if (id_, city) not in fleets:
            program, per = programs[id_], wanted[id_].declared.per
            cities = program.group or (city,)
            found = [registry.devices(feed, one) for feed in program.fleet for one in cities]
            parts = [part for part in found if part is not None]
            if program.among is not None:
                parts = [part.filter(program.among.holds(Rows(part))) for part in parts]
            column = pl.lit(1.0) if per == "device" else pl.col(per).cast(pl.Float64)
            spans = [part.select("from_ms", "until_ms", column.alias("units")) for part in parts]
            fleets[id_, city] = (pl.concat(spans) if spans else pl.DataFrame(), per)
        return fleets[id_, city]

    def units(id_: str, city: str, at_ms: int) -> float:
        if wanted[id_].declared.per == "one":
            return 1.0
        devices, _ = fleet(id_, city)
        if devices.is_empty():
            return 0.0
        serving = (pl.col("from_ms") <= at_ms) & (pl.col("until_ms").is_null() | (pl.col("until_ms") > at_ms))
        return float(devices.filter(serving)["units"].sum())

    return units


def medians(rows: pl.DataFrame, what: Learnable, units: Units) -> list[Ordinary]:
    """Bases from the rows of a run of the learnable catalogue; the newest revision of each window counts.

    Units are taken once an hour. Windows without a value, or without units, count for nothing.
    """
    known = (
        rows.filter((pl.col("maturity") != "provisional") & (pl.col("dims") == ""))
        .sort("rev")
        .unique(["indicator", "city", "window_end_ms"], keep="last")
        .drop_nulls("value")
        .select("indicator", "city", (pl.col("window_start_ms") // HOUR_MS * HOUR_MS).alias("hour_ms"), "value")
    )
    if known.is_empty():
        return []
    known = known.filter(pl.col("hour_ms") > pl.col("hour_ms").max() - LATEST_WEEKS * WEEK_MS)
    places = what.catalogue.bases.places
    moments = known.select("indicator", "city", "hour_ms").unique(maintain_order=True)
    facts = [
        (hour_of_week(places[city], hour_ms), units(id_, city, hour_ms)) for id_, city, hour_ms in moments.iter_rows()
    ]
    schema = {"hour": pl.Int64, "units": pl.Float64}
    moments = moments.hstack(pl.DataFrame(facts, schema=schema, orient="row"))
    hours = (
        known.join(moments, on=["indicator", "city", "hour_ms"])
        .filter(pl.col("units") > 0)
        .group_by("indicator", "city", "hour")
        .agg((pl.col("value") / pl.col("units")).median().alias("median"), pl.len().alias("samples"))
    )
    spans = known.group_by("indicator", "city").agg((pl.col("hour_ms").max() - pl.col("hour_ms").min()) + HOUR_MS)
    weeks = {(id_, city): span / WEEK_MS for id_, city, span in spans.iter_rows()}
    return [
        _ordinary(what.wanted[str(id_)], str(city), part, weeks[str(id_), str(city)])
        for (id_, city), part in sorted(hours.partition_by("indicator", "city", as_dict=True).items())
    ]


def _ordinary(wanted: Wanted, city: str, hours: pl.DataFrame, weeks: float) -> Ordinary:
    by_hour = dict(zip(hours["hour"].to_list(), hours["median"].to_list(), strict=True))
    return Ordinary(
        indicator=wanted.indicator,
        name=wanted.name,
        city=city,
        values=tuple(by_hour.get(hour) for hour in range(HOURS)),
        weeks=round(weeks, 2),
        samples=int(hours["samples"].to_numpy().min()),
    )


def as_toml(bases: Iterable[Ordinary], remark: str) -> str:
    """Bases as a file of the folder `bases/`, six digits a value, a line a day."""
    parts = [f"# {line}\n" for line in remark.splitlines()]
    for one in bases:
        days = [one.values[day : day + 24] for day in range(0, HOURS, 24)]
        lines = ",\n".join("  " + ", ".join("nan" if v is None else f"{v:.6g}" for v in day) for day in days)
        parts.append(
            f'\n[[base]]\nindicator = "{one.indicator}"\nname = "{one.name}"\ncity = "{one.city}"\n'
            f"weeks = {one.weeks}\nsamples = {one.samples}\nvalues = [\n{lines},\n]\n"
        )
    return "".join(parts)
