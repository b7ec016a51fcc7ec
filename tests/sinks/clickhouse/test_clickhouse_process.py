"""The sink as a process: commands, kill -9, lock, health page; with the real broker and the real store."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_world import Site

from deploy.embedded.store.launch import Store as EmbeddedStore
from pearlstream.catalogue import Catalogue
from pearlstream.store import Store


@pytest.fixture
def site(embedded_broker: str, embedded_store: Any, tmp_path: Path, catalogue: Catalogue) -> Iterator[Site]:
    site = Site(embedded_broker, embedded_store, tmp_path, catalogue)
    yield site
    store = Store(site.clickhouse)
    store.command(f"DROP DATABASE IF EXISTS `{store.database}`")


def test_a_killed_sink_goes_on_and_the_commands_tell_the_truth(site: Site) -> None:
    refused = site.run("sink")
    assert refused.returncode == 75
    assert "store migrate" in refused.stderr
    assert site.run("store", "migrate").returncode == 0
    assert "up to date" in site.run("store", "migrate").stdout
    sink = site.sink()
    try:
        site.world.play(minutes=2)
        site.publish()
        time.sleep(0.5)
        sink.kill()
        sink.wait()
        sink = site.sink()
        status = site.wait_idle(sink)
        assert status["ready"]
        assert status["lag"]["accepted"] == 0
        ready = urllib.request.urlopen(f"http://127.0.0.1:{status['health_port']}/readyz")
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{status['health_port']}/metrics").read().decode()
        assert ready.status == 200
        assert "pearlstream_sink_rows_total" in metrics
        second = site.run("sink")
        assert second.returncode == 78
        assert "already" in second.stderr
        code, ledger = site.ledger()
        assert (code, ledger["missing"], ledger["doubled"]) == (0, 0, 0), ledger["findings"]
        assert ledger["totals"]["accepted"] == ledger["totals"]["rollup_count"] > 0
        sizes = json.loads(site.run("store", "status", "--json").stdout)
        assert sizes["readings"]["rows"] == ledger["totals"]["stored_raw"]
    finally:
        sink.send_signal(signal.SIGTERM)
        assert sink.wait(30) == 0, (site.folder / "sink.log").read_text()
    spoil = Store(site.clickhouse)
    spoil.command(f"DELETE FROM `{spoil.database}`.readings_traffic_flow WHERE device = 'd1'")
    code, ledger = site.ledger()
    assert code == 1
    assert ledger["missing"] > 0
    mended = site.run("store", "repair", "--json")
    assert mended.returncode == 0, mended.stderr
    recounted = json.loads(mended.stdout)["recounted"]
    assert recounted["missing"] == ledger["missing"]
    assert recounted["inserted"]["readings_traffic_flow"] >= ledger["missing"]
    assert site.ledger()[0] == 0


@pytest.mark.slow
def test_the_way_back_by_commands(site: Site) -> None:
    def told(*arguments: str, code: int = 0) -> Any:
        done = site.run(*arguments, "--json")
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    assert site.run("store", "migrate").returncode == 0
    sink = site.sink()
    site.world.play(minutes=2)
    site.publish()
    site.wait_idle(sink)
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(30) == 0
    store, day = Store(site.clickhouse), "2023-11-14"
    store.command(f"DELETE FROM `{store.database}`.rollups WHERE city = '440300' AND feed = 'traffic.flow'")
    backfill = ("store", "backfill", "--day", day, "--feed", "traffic.flow")
    assert told(*backfill, "--dry-run", code=1)["differ"] == 1
    assert told(*backfill)["days"][0]["replaced"]
    assert site.ledger()[0] == 0
    assert site.run("store", "backfill").returncode == 2
    assert "no feed 'none'" in site.run(*backfill[:4], "--feed", "none").stderr
    found = told("quarantine", "list")["findings"]
    assert len({one["reason"] for one in found}) == 2
    name = found[0]["finding"]
    assert told("quarantine", "show", name)["message"] == found[0]["message"]
    assert site.run("quarantine", "redrive").returncode == 2
    assert told("quarantine", "redrive", name)["sent"] == [name]
    assert told("quarantine", "redrive", name, code=1)["refused"]
    assert told("quarantine", "discard", found[1]["finding"], "--why", "rubbish") == {"discarded": 1}
    assert len(told("quarantine", "list")["findings"]) == len(found) - 2
    withdraw = ("readings", "withdraw", "--feed", "traffic.flow", "--device", "d1", "--from", day, "--to", "2023-11-15")
    assert told(*withdraw, "--why", "tilted", "--dry-run")["readings"] > 0
    assert "--force" in site.run(*withdraw, "--why", "tilted").stderr
    assert told(*withdraw, "--why", "tilted", "--force")["readings"] > 0
    assert [act["why"] for act in told("readings", "withdrawn")] == ["tilted"]
    code, ledger = site.ledger()
    assert ledger["totals"]["withdrawn"] > 0
    assert {finding["what"] for finding in ledger["findings"]} <= {"frames without a row"}, (code, ledger["findings"])


@pytest.mark.slow
def test_twenty_kills_under_load_leave_the_ledger_exact(site: Site) -> None:
    assert site.run("store", "migrate").returncode == 0
    rng = random.Random(1)
    site.world.play(minutes=1)
    feeds = [site.world.catalogue.feeds[name] for name in ("traffic.flow", "factory.machine")]
    now = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 60_000
    sink = site.sink()
    for _ in range(20):
        until = time.monotonic() + rng.uniform(1.0, 4.0)
        while time.monotonic() < until:
            for city in ("440300", "440100", "810000"):
                for feed in feeds:
                    site.world.frame(feed, city, now + 100, times=rng.choice([1, 1, 1, 2]))
            now += 5000
            site.world.tick(now)
            site.publish()
        sink.kill()
        sink.wait()
        sink = site.sink()
    site.wait_idle(sink)
    code, ledger = site.ledger()
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(30) == 0
    assert (code, ledger["missing"], ledger["doubled"]) == (0, 0, 0), ledger["findings"]


@pytest.mark.slow
def test_a_store_that_is_killed_under_load_loses_nothing(
    embedded_broker: str, tmp_path: Path, catalogue: Catalogue
) -> None:
    own = EmbeddedStore(tmp_path / "own")
    own.start()
    site = Site(embedded_broker, own, tmp_path, catalogue)
    assert site.run("store", "migrate").returncode == 0
    site.world.play(minutes=1)
    now = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 60_000
    feed = site.world.catalogue.feeds["traffic.flow"]
    sink = site.sink()
    for _ in range(4):
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            for city in ("440300", "440100", "810000"):
                site.world.frame(feed, city, now + 100)
            now += 5000
            site.world.tick(now)
            site.publish()
        pid = own.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)  # whoever watches over it starts it again
    site.wait_idle(sink)
    code, ledger = site.ledger()
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(30) == 0
    own.stop()
    assert (code, ledger["missing"], ledger["doubled"]) == (0, 0, 0), ledger["findings"]
    assert "again_in_s" in (tmp_path / "sink.log").read_text()
