"""Real data into the past of a live log, by commands, killed in between: `import --in-process` says the same."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sink_world import T0, drain
from site_world import Site

from pearlstream.catalogue import load_catalogue
from pearlstream.inprocess import Folded
from pearlstream.program import compile_catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from producers.importer import Import, fold_import, load_mapping, resolve
from sinks.clickhouse.migrate import migrate

AIR = Path(__file__).parents[3] / "examples" / "beijing" / "air.toml"
DATA = Path(__file__).parents[4] / "shared" / "data" / "beijing_air"
STATIONS = ("Aotizhongxin", "Changping", "Gucheng", "Wanliu")
KEY = ["indicator", "city", "dims", "window_start_ms", "window_end_ms"]
SAYS = ["value", "state", "coverage", "n", "numerator", "denominator"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}"),
]


@pytest.fixture
def site(embedded_broker: str, embedded_store: Any, tmp_path: Path) -> Iterator[Site]:
    """A live pipeline whose catalogue knows Beijing."""
    site = Site(embedded_broker, embedded_store, tmp_path, load_catalogue([AIR.parent]))
    site.env["PEARLSTREAM_CATALOGUE__OVERLAYS"] = json.dumps([str(AIR.parent)])
    yield site
    store = Store(site.clickhouse)
    store.command(f"DROP DATABASE IF EXISTS `{store.database}`")


def air_files(folder: Path, first: int, days: int) -> list[Path]:
    """Some days of the four stations' year."""
    files = []
    for station in STATIONS:
        header, *rows = (DATA / f"{station}_2016.csv").read_text().splitlines(keepends=True)
        path = folder / f"{station}.csv"
        path.write_text(header + "".join(rows[24 * first : 24 * (first + days)]))
        files.append(path)
    return files


def in_process(files: list[Path]) -> Folded:
    mapping = load_mapping(AIR)
    program = compile_catalogue(load_catalogue(mapping.overlay))
    with Import(resolve(mapping, program.catalogue, str(AIR)), program) as job:
        job.prepare(files)
        return fold_import(job)


def windows(store: Store) -> pl.DataFrame:
    """What the store says of the past."""
    times = ", ".join(f"toUnixTimestamp64Milli({name}) AS {name[:-3]}" for name in KEY[3:])
    text = (
        f"SELECT toString(indicator) AS indicator, toString(city) AS city, toString(dims) AS dims, {times}, value,"
        f" toString(state) AS state, coverage, n, numerator, denominator FROM `{store.database}`.indicators FINAL"
        " WHERE rev >= 0 AND window_end_ms < '2020-01-01'"
    )
    frame = pl.DataFrame(store.arrow(text))
    return frame.rename({"window_start": "window_start_ms", "window_end": "window_end_ms"})


def live_windows(store: Store) -> list[tuple[Any, ...]]:
    text = f"SELECT * EXCEPT stored_at FROM `{store.database}`.indicators FINAL WHERE window_end_ms > '2020-01-01'"
    return store.query(f"{text} ORDER BY ALL")


def more_life(site: Site, seconds: int) -> None:
    """Detectors go on speaking."""
    feed = site.world.catalogue.feeds["traffic.flow"]
    now = T0 + seconds * 1000
    site.world.frame(feed, "440300", now + 1000)
    site.world.tick(now + 10_000)
    site.publish()


def test_a_day_of_real_data_comes_into_the_past_of_a_live_log_once(
    site: Site, embedded_store: Any, tmp_path: Path
) -> None:
    files = air_files(tmp_path, 14, 3)
    command = ("import", *map(str, files), "--map", str(AIR), "--backfill", "--json")
    assert site.run("store", "migrate").returncode == 0
    sink = site.sink()
    site.world.play(minutes=1)
    site.publish()
    site.wait_idle(sink)
    store = Store(site.clickhouse)
    done = f"SELECT count() FROM `{store.database}`.acts FINAL WHERE state = 'done' AND startsWith(part, 'stretch')"
    first = subprocess.Popen(site.command(*command), env=site.env, stdout=subprocess.DEVNULL, cwd=tmp_path)
    life = 60
    while not store.query(done)[0][0]:
        assert first.poll() is None
        more_life(site, life := life + 10)
        time.sleep(0.2)
    first.kill()
    first.wait()
    told = site.run(*command)
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)["backfill"]
    assert report["resumed"]
    again = json.loads(site.run(*command).stdout)["backfill"]
    assert (again["total"]["fresh"], again["total"]["known"]) == (0, report["total"]["fresh"])

    folded = in_process(files)
    assert report["total"]["fresh"] == folded.accepted == 4 * 24 * 3
    counted = store.query(
        f"SELECT toUnixTimestamp64Milli(pane_ms) AS pane, sum(n) FROM `{store.database}`.rollups"
        " WHERE measure = 'air.quality.rows' AND pane_ms < '2020-01-01' GROUP BY pane ORDER BY pane"
    )
    assert counted == folded.panes.select("pane_ms", "n").rows()
    wanted = folded.indicators.filter(pl.col("rev") >= 0).select(*KEY, *SAYS)
    said = windows(store)
    both = wanted.join(said, on=[*KEY, *SAYS], how="anti", nulls_equal=True)
    assert both.is_empty(), both
    assert len(wanted.filter(indicator="I43b")) == 72

    more_life(site, life + 10)
    site.wait_idle(sink)
    code, ledger = site.ledger()
    assert (code, ledger["missing"], ledger["doubled"]) == (0, 0, 0), ledger["findings"]
    assert ledger["panes"]
    alone = Store(
        ClickHouse(
            url=embedded_store.url,
            user=embedded_store.user,
            password=embedded_store.password,
            database=f"{store.database}_a",
        )
    )
    migrate(alone, site.world.catalogue)
    drain(site.world, alone)
    assert live_windows(store) == live_windows(alone)
    alone.command(f"DROP DATABASE `{alone.database}`")
    sink.terminate()
    assert sink.wait(30) == 0
