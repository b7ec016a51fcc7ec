"""The shipped mappings, on the recordings that they were written for."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from importer_kit import SHARED, needs_data

from pearlstream.catalogue import load_catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.program import compile_catalogue
from producers.importer import Import, MappingError, fold_import, load_mapping, resolve

EXAMPLES = Path(__file__).parents[3] / "examples"
MAPPINGS = sorted(path for path in EXAMPLES.glob("*/*.toml"))
AIR = EXAMPLES / "beijing" / "air.toml"
DETECTORS = EXAMPLES / "twin-cities" / "detectors.toml"
HOUR_MS = 3_600_000
BEIJING = timezone(timedelta(hours=8))
STATIONS = ("Aotizhongxin", "Changping", "Gucheng", "Wanliu")
FIELDS = {"pm25": ("PM2.5", 1), "pm10": ("PM10", 1), "so2": ("SO2", 1), "no2": ("NO2", 1), "co": ("CO", 1000),
          "o3": ("O3", 1), "temp_c": ("TEMP", 1)}  # fmt: skip


def open_job(mapping_file: Path) -> Import:
    mapping = load_mapping(mapping_file)
    program = compile_catalogue(load_catalogue(mapping.overlay))
    return Import(resolve(mapping, program.catalogue, str(mapping_file)), program)


def test_there_are_mappings_and_they_fit_the_catalogue():
    assert {path.name for path in MAPPINGS} >= {"air.toml", "detectors.toml"}
    for path in MAPPINGS:
        open_job(path)


# ------------------------------------------------------------------ the air of Beijing


def air_files(folder: Path, days: int) -> list[Path]:
    """The first days of the four stations' year."""
    files = []
    for station in STATIONS:
        text = (SHARED / "beijing_air" / f"{station}_2016.csv").read_text().splitlines(keepends=True)
        path = folder / f"{station}_2016.csv"
        path.write_text("".join(text[: 1 + 24 * days]))
        files.append(path)
    return files


Hour = dict[str, float | None]


def by_hand(files: list[Path], feed: Feed) -> Iterator[tuple[int, float | None]]:
    """End of each hour (ms) and I43b, computed from the files with nothing of ours but the ranges.

    Each station's means count with three quarters of their hours; the city's mean is over the stations that have
    one; the indicator is the largest of the four means over their limits. A row with a value outside its range
    does not count at all, and an hour counts if at least two of the four stations do.
    """
    stations: dict[str, dict[int, Hour]] = {}
    for file in files:
        with file.open(newline="") as text:
            for row in csv.DictReader(text):
                local = datetime(*(int(row[part]) for part in ("year", "month", "day", "hour")), tzinfo=BEIJING)
                start = round(local.timestamp() * 1000)
                hour = {n: None if row[c] == "NA" else float(row[c]) / by for n, (c, by) in FIELDS.items()}
                if all(plausible(feed, name, value) for name, value in hour.items()):
                    stations.setdefault(row["station"], {})[start] = hour
    starts = sorted({start for hours in stations.values() for start in hours})
    for start in range(starts[0], starts[-1] + 1, HOUR_MS):
        present = sum(start in stations[station] for station in STATIONS)
        yield start + HOUR_MS, exceedance(stations, start) if present >= 2 else None


def plausible(feed: Feed, name: str, value: float | None) -> bool:
    spec = feed.fields[name]
    assert spec.min is not None
    assert spec.max is not None
    return value is None or spec.min <= value <= spec.max


def exceedance(stations: dict[str, dict[int, Hour]], start: int) -> float | None:
    ratios = []
    for pollutant, hours, limit in (("pm25", 24, 60), ("pm10", 24, 120), ("o3", 8, 160), ("o3", 1, 200)):
        means = []
        for station in STATIONS:
            window = (stations[station].get(start - back * HOUR_MS, {}).get(pollutant) for back in range(hours))
            values = [value for value in window if value is not None]
            if len(values) >= 0.75 * hours:
                means.append(sum(values) / len(values))
        if means:
            ratios.append(sum(means) / len(means) / limit)
    return max(ratios) if ratios else None


def compare(folder: Path, days: int) -> None:
    files = air_files(folder, days)
    with open_job(AIR) as job:
        survey = job.prepare(files)
        folded = fold_import(job)
    hours = 24 * days
    assert (survey.rows, survey.readings, job.rejects.total) == (4 * hours, 4 * hours, 0)
    assert (folded.accepted, folded.late, folded.duplicate, folded.quarantined) == (4 * hours, 0, 0, {})
    assert folded.panes.select("feed", "city").unique().rows() == [("air.quality", "CN-BJ")]
    assert len(folded.panes) == hours
    assert folded.panes["n"].unique().to_list() == [4]
    settled = folded.indicators.filter(indicator="I43b").sort("window_end_ms")
    assert settled["maturity"].unique().to_list() == ["settled"]
    ours = dict(settled.select("window_end_ms", "value").iter_rows())
    theirs = dict(by_hand(files, job.resolved.feed))
    assert list(ours) == list(theirs)
    assert len(ours) == hours
    assert sum(value is not None for value in theirs.values()) > 0.95 * hours
    for end, value in theirs.items():
        assert ours[end] == pytest.approx(value, abs=1e-9), datetime.fromtimestamp(end / 1000, BEIJING)


@needs_data
def test_a_month_of_the_air_of_beijing_agrees_with_a_computation_by_hand(tmp_path: Path):
    compare(tmp_path, 31)


@needs_data
@pytest.mark.slow
def test_the_year_2016_of_the_air_of_beijing_agrees_with_a_computation_by_hand(tmp_path: Path):
    compare(tmp_path, 366)


@needs_data
def test_carbon_monoxide_comes_in_milligrams_and_na_is_missing():
    with open_job(AIR) as job:
        job.prepare([SHARED / "beijing_air" / "Wanliu_2016.csv"])
        readings = pl.concat(list(job.readings()))
        record = next(job.book.records())
    assert readings["co"][0] == pytest.approx(4.8)
    assert readings["co"].max() == pytest.approx(10.0)
    assert (readings["pm25"].null_count(), readings["o3"].null_count()) == (103, 243)
    assert b'"attrs":{"grade":"ref"}' in record
    assert job.book.measured_cadence_s() == 3600


# ------------------------------------------------------------------ the roads of the Twin Cities


@needs_data
def test_speed_and_occupancy_of_a_detector_become_one_reading():
    files = [SHARED / "nab" / f"{name}_6005.csv" for name in ("speed", "occupancy")]
    with open_job(DETECTORS) as job:
        survey = job.prepare(files)
        readings = pl.concat(list(job.readings()))
    assert (survey.rows, survey.readings, job.rejects.total) == (4880, 2500, 0)
    assert readings["occ_pct"].count() == 2380
    assert readings["speed_kmh"][0] == pytest.approx(90 * 1.609344)
    assert job.book.measured_cadence_s() == 300


@needs_data
def test_the_jam_of_17_september_stands_out_in_the_indicator_of_the_overlay(tmp_path: Path):
    files = []
    for name in ("speed", "occupancy"):
        text = (SHARED / "nab" / f"{name}_6005.csv").read_text().splitlines()
        files.append(tmp_path / f"{name}_6005.csv")
        files[-1].write_text(
            "\n".join(line for line in text if line[:10] in ("timestamp,", "2015-09-16", "2015-09-17"))
        )
    with open_job(DETECTORS) as job:
        job.prepare(files)
        folded = fold_import(job)
    assert (folded.accepted, folded.late, folded.quarantined) == (job.survey.readings, 0, {})
    raised = folded.indicators.filter(indicator="TC1", state="RAISED")
    assert raised["window_start_ms"].to_list() == [round(datetime(2015, 9, 17, 7, tzinfo=UTC).timestamp() * 1000)]
    assert folded.indicators.filter(indicator="I43a")["value"].count() == 0, "there is no flow to weigh by"


@needs_data
def test_a_file_that_the_mapping_does_not_know_is_refused_by_name():
    with open_job(DETECTORS) as job, pytest.raises(MappingError, match=r"TravelTime_387\.csv is matched by none"):
        job.prepare([SHARED / "nab" / "TravelTime_387.csv"])
