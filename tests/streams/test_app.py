"""The whole application in this process, on a real broker: start, readiness, bad records, what ends it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from workers import Process, Topics, free_port

import streams.app
from deploy.embedded.broker import Broker
from pearlstream.broker import admin_client
from pearlstream.errors import PositionError, SettingsError
from pearlstream.fold import Fold, Record, header
from pearlstream.settings import Kafka, Settings
from pearlstream.testing.folds import POISON, Adding, Counting, frame, tick
from streams.app import WorkerApp, make_app

Deaths = list[tuple[int, str]]


@asynccontextmanager
async def running(
    topics: Topics, *folds: Fold[Any], deaths: Deaths | None = None, alone: bool = True
) -> AsyncIterator[WorkerApp]:
    """The app, started; what would end the process is noted in `deaths`."""
    app = make_app(topics.settings(), folds=folds or (Counting(), Adding()), alone=alone)
    noted: Deaths = [] if deaths is None else deaths
    app.die = lambda code, message, **_: noted.append((code, message))  # type: ignore[method-assign]
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def readiness(app: WorkerApp) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{app.health.port}/readyz") as answer,
    ):
        return answer.status, await answer.json()


async def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are of all kinds
            await asyncio.sleep(0.02)


async def read(topics: Topics, role: str, count: int) -> list[Record]:
    return await asyncio.to_thread(topics.read, role, 0, lambda found: len(found) >= count)


def write(topics: Topics, *values: bytes | int) -> None:
    for value in values:
        topics.write("readings", 0, tick(0, value) if isinstance(value, int) else frame(0, value))
    topics.flush()


async def test_a_worker_waits_for_a_broker_that_is_away_says_so_and_goes_on_when_it_is_there(tmp_path: Path) -> None:
    port = free_port()
    kafka = Kafka(bootstrap_servers=f"127.0.0.1:{port}", prefix="late.", partitions=2)
    app = make_app(Settings(kafka=kafka), folds=[Counting()], alone=True)
    starting = asyncio.ensure_future(app.start())
    await until(lambda: app.broker_error)
    status, body = await readiness(app)
    assert status == 503
    assert "broker" in [check["name"] for check in body["failing"]]
    broker = Broker(tmp_path, port=port)
    await asyncio.to_thread(broker.start)
    try:
        await asyncio.wait_for(starting, 60)
        assert not app.broker_error
        assert app.stages[0].topic_id
        await until(lambda: not app.recovering)
        await app.stop()
    finally:
        await asyncio.to_thread(broker.stop)


async def test_a_worker_that_waits_for_its_broker_can_be_stopped() -> None:
    kafka = Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}", prefix="never.", partitions=2)
    app = make_app(Settings(kafka=kafka), folds=[Counting()], alone=True)
    starting = asyncio.ensure_future(app.start())
    await until(lambda: app.broker_error)
    await asyncio.wait_for(app.stop(), 20)
    starting.cancel()


async def test_what_goes_in_comes_out_of_both_stages(topics: Topics) -> None:
    async with running(topics) as app:
        write(topics, 1, b"a", b"b", 2)
        accepted = await read(topics, "accepted", 2)
        indicators = await read(topics, "indicators", 2)
        assert [record.value for record in accepted] == [b"a", b"b"]
        assert header(accepted[1].headers, "from") == f"{topics.ids['readings']}/0/1/2"
        assert indicators[-1].value == b'[{"440300":2}]'
        status, body = await readiness(app)
        assert (status, body["ready"], body["failing"]) == (200, True, [])
        async with aiohttp.ClientSession() as session:
            base = f"http://127.0.0.1:{app.health.port}"
            assert (await session.get(f"{base}/healthz")).status == 200
            text = await (await session.get(f"{base}/metrics")).text()
        assert 'pearlstream_worker_applied_offset{partition="0",stage="admit"} 3.0' in text


@pytest.mark.parametrize("alone", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_the_group_shows_how_far_snapshots_reach(topics: Topics, alone: bool) -> None:
    async with running(topics, alone=alone) as app:
        write(topics, *[b"x"] * 45)
        write(topics, 1)
        await until(lambda: app.stages[0].counts.snapshots == 1)
    with admin_client(topics.kafka) as admin:
        (offsets,) = admin.list_group_offsets({app.conf.id: None}).values()
    committed = {(tp.topic, tp.partition): one.offset for tp, one in offsets.items()}
    assert committed[topics.kafka.prefix + "readings", 0] == 46


async def test_when_an_agent_fails_the_worker_says_that_it_is_not_ready(topics: Topics) -> None:
    class Broken(Counting):
        def apply(self, state, records):  # type: ignore[no-untyped-def]
            raise PositionError("two outputs cover one record")

    deaths: Deaths = []
    async with running(topics, Broken(), deaths=deaths) as app:
        assert (await readiness(app))[0] == 200
        write(topics, b"a")
        await until(lambda: deaths)
        status, body = await readiness(app)
        assert deaths[0][0] == 70
        assert status == 503
        (check,) = (check for check in body["failing"] if check["name"] == "admit.agent")
        assert "two outputs cover one record" in check["message"]
        assert "restart" in check["remedy"]


async def test_a_bad_record_goes_to_quarantine_and_the_stream_goes_on(topics: Topics) -> None:
    async with running(topics) as app:
        write(topics, 1, b"a", POISON, b"b", 2)
        (bad,) = await read(topics, "quarantine", 1)
        assert (bad.value, header(bad.headers, "reason")) == (POISON, "internal_error")
        await until(lambda: app.stages[0].lags() == {0: 0, 1: 0} and app.stages[0].lanes[0].folding.applied == 4)
        assert app.stages[0].counts.refused == 1
        write(topics, b"c", 3)
        await until(lambda: app.stages[0].lanes[0].folding.applied == 6)


async def test_while_a_registry_is_missing_the_worker_is_not_ready_and_then_goes_on(topics: Topics) -> None:
    known: set[str] = set()
    async with running(topics, Counting(registries=known)) as app:
        write(topics, 1)
        await until(lambda: app.stages[0].lanes[0].waiting_for)
        status, body = await readiness(app)
        assert (status, body["failing"][0]["name"]) == (503, "admit.registry")
        known.add("00000000")
        await read(topics, "rollups", 1)
        assert (await readiness(app))[0] == 200


async def test_a_topic_that_is_made_anew_ends_the_worker(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.app, "TOPIC_ID_EVERY_S", 0.05)
    deaths: Deaths = []
    async with running(topics, deaths=deaths):
        await asyncio.sleep(0.5)
        assert deaths == []
        monkeypatch.setattr(streams.app, "_topic_ids", lambda kafka, roles: dict.fromkeys(roles, "another-life"))
        await until(lambda: deaths)
        assert deaths[0][0] == 75
        assert "made anew" in deaths[0][1]


async def test_null_values_and_strange_headers_reach_the_fold_as_they_are(topics: Topics) -> None:
    seen: list[Record] = []

    class Seeing(Counting):
        def apply(self, state, records):  # type: ignore[no-untyped-def]
            seen.extend(records)
            return super().apply(state, [])

    async with running(topics, Seeing()):
        headers = (("a", b"1"), ("a", b"2"), ("Faust-Ag-ReplyTo", b"somewhere"))
        topics.write("readings", 0, Record(0, b"k", None, headers))
        topics.flush()
        await until(lambda: seen)
        assert seen[0][1:4] == (b"k", None, headers)


def listening() -> set[str]:
    """Local addresses on which this process listens, as Linux writes them: `<address>:<port>` in hex."""
    sockets = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
    rows = [
        line.split() for name in ("tcp", "tcp6") for line in Path("/proc/self/net", name).read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks into Linux's /proc")
async def test_nothing_listens_but_the_health_page_on_loopback(topics: Topics) -> None:
    before = listening()
    async with running(topics) as app:
        assert listening() - before == {f"0100007F:{app.health.port:04X}"}


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(SettingsError, match="no stage 'admitt'"):
        make_app(Settings(), ["admitt"])


async def test_without_a_broker_the_worker_says_what_to_set() -> None:
    app = make_app(Settings(), folds=[Counting()])
    with pytest.raises(SettingsError, match="no broker"):
        await app.start()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["faust -A streams.app worker", "pearlstream.cli worker"])
def test_the_real_stages_start_from_fausts_command_line_and_from_ours(topics: Topics, command: str) -> None:
    port = free_port()
    environment = os.environ | {
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
        "PEARLSTREAM_KAFKA__PREFIX": topics.kafka.prefix,
        "PEARLSTREAM_KAFKA__PARTITIONS": str(topics.kafka.partitions),
        "PEARLSTREAM_WORKER__HEALTH_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()], env=environment, stderr=subprocess.PIPE, text=True
    )
    worker = Process.of(process, port)
    try:
        deadline = time.monotonic() + 60
        while not worker.readiness().get("ready"):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.terminate()
    assert process.wait(20) == 0
