"""The processes of a run besides broker and store: worker, sink, simulator, each by its own public command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.folder import RunFolder
from deploy.embedded.child import ChildSpec
from deploy.embedded.ports import LOOPBACK, choose_port
from pearlstream.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """What a demo is asked to play. Times in milliseconds; `speed` 0 means as fast as it goes.

    `scenarios`: by name, each with its delay after the start. `duration_ms` None: until all of them end. `start`: an
    ISO time or `now`, None as the scenario says. `faults`: none, default, or a file that changes them.
    """

    scenarios: tuple[tuple[str, int], ...]
    speed: float
    seed: int = 1
    duration_ms: int | None = None
    rate: float | None = None
    start: str | None = None
    faults: str = "default"


@dataclass(frozen=True)
class Life:
    """One life of the broker, which has topics and a database of its own.

    `settings` are the effective ones for everybody who takes part; `pages` the base URLs of the health pages.
    """

    number: int
    settings: Settings
    ledger: Path
    pages: Mapping[str, str]


def client_settings(settings: Settings, environment: Mapping[str, str], prefix: str, database: str) -> Settings:
    """The settings with the addresses that the services have and the names that are ours."""
    kafka = settings.kafka.model_copy(
        update={"bootstrap_servers": environment["PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS"], "prefix": prefix}
    )
    clickhouse = type(settings.clickhouse)(
        url=environment["PEARLSTREAM_CLICKHOUSE__URL"],
        user=environment["PEARLSTREAM_CLICKHOUSE__USER"],
        password=environment["PEARLSTREAM_CLICKHOUSE__PASSWORD"],
        database=database,
    )
    return settings.model_copy(update={"kafka": kafka, "clickhouse": clickhouse})


def environment_of(settings: Settings, *, inherit: bool = False) -> dict[str, str]:
    """Settings of a run as environment names, for its processes. Holds secrets: never shown or logged.

    `inherit`: on top of our own environment.
    """
    kafka, clickhouse = settings.kafka, settings.clickhouse
    return {
        **(os.environ if inherit else {}),
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PEARLSTREAM_KAFKA__PREFIX": kafka.prefix,
        "PEARLSTREAM_KAFKA__PARTITIONS": str(kafka.partitions),
        "PEARLSTREAM_KAFKA__CLOCK_KEY": kafka.clock_key.get_secret_value(),
        "PEARLSTREAM_CLICKHOUSE__URL": clickhouse.url,
        "PEARLSTREAM_CLICKHOUSE__USER": clickhouse.user,
        "PEARLSTREAM_CLICKHOUSE__PASSWORD": clickhouse.password.get_secret_value(),
        "PEARLSTREAM_CLICKHOUSE__DATABASE": clickhouse.database,
    }


def health_port(configured: int, name: str) -> int:
    """The port of a health page. Raises ServiceError if a configured one is taken."""
    setting = f"PEARLSTREAM_{name.upper()}__HEALTH_PORT"
    return choose_port(configured, what=f"the health page of the {name}", setting=setting)


def page(port: int) -> str:
    """The base URL of a health page."""
    return f"http://{LOOPBACK}:{port}"


def served_spec(name: str, life: Life, folder: RunFolder, *options: str) -> ChildSpec:
    """A worker or the sink: runs until it is ended, and is started again if it dies. `worker-2` is a worker."""
    base, role = life.pages[name], name.partition("-")[0]
    own = {
        f"PEARLSTREAM_{role.upper()}__HEALTH_PORT": base.rpartition(":")[2],
        "PEARLSTREAM_EMBEDDED__DATA_DIR": str(folder.path),
    }
    return ChildSpec(
        name=name,
        argv=program(role, *options),
        log_file=folder.log_of(name),
        env=environment_of(life.settings) | own,
        ready=f"{base}/readyz",
        # A killed worker's partitions stay with it until its session ends, and a restart waits for that.
        ready_timeout_s=90.0,
        stop_timeout_s=20.0,
        max_restarts=20,
    )


def page_spec(life: Life, port: int, folder: RunFolder) -> ChildSpec:
    """The page in the browser: nobody needs it, so it may fail."""
    return ChildSpec(
        name="page",
        argv=program("live", "--port", str(port)),
        log_file=folder.log_of("page"),
        env=environment_of(life.settings),
        ready=f"{page(port)}/healthz",
        ready_timeout_s=60.0,
    )


def simulator_spec(wanted: Wanted, life: Life, folder: RunFolder) -> ChildSpec:
    """The simulator: ends by itself when all is played and written, and writes its books then."""
    options = ["--seed", str(wanted.seed), "--ledger", str(life.ledger)]
    for name, delay_ms in wanted.scenarios:
        options += ["--scenario", f"{name}+{delay_ms}ms" if delay_ms else name]
    options += ["--speed", f"{wanted.speed:g}" if wanted.speed else "max"]
    if wanted.duration_ms is not None:
        options += ["--duration", f"{wanted.duration_ms}ms"]
    if wanted.rate is not None:
        options += ["--rate", f"{wanted.rate:g}"]
    if wanted.start is not None:
        options += ["--start", wanted.start]
    if wanted.faults != "default":
        options += ["--faults", wanted.faults]
    return ChildSpec(
        name="simulator",
        argv=program("simulate", *options),
        log_file=folder.log_of("simulator"),
        # A spool belongs to one life of the broker.
        env=environment_of(life.settings) | {"PEARLSTREAM_SPOOL__FOLDER": str(folder.path / f"spool-{life.number}")},
        stop_timeout_s=60.0,
        max_restarts=0,
        ends=True,
    )


def program(*arguments: str) -> list[str]:
    """A command of ours as a command line. `-P`: what lies in the working folder must not be imported in our place."""
    return [sys.executable, "-P", "-m", "pearlstream.cli", *arguments]
