"""The command `pearlstream doctor`: what is wrong on this machine or in the settings, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from pearlstream.errors import EXIT_FINDING, PearlstreamError

if TYPE_CHECKING:
    from pearlstream.settings import Settings

Status = Literal["ok", "warn", "fail"]
PYTHONS = ((3, 11), (3, 14))
"""The first version that will do, and the first that will not."""
ROOM_BYTES = 2 << 30
"""Free space of the data folder below which a long demo may run into the wall."""
MEMORY_BYTES = (1 << 29, 3 << 29)
"""Available memory: below the first nothing will run well, below the second a demo is tight."""
SIGNS: Mapping[Status, tuple[str, str]] = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    status: Status
    message: str
    remedy: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Checks and effective settings as JSON.")
def doctor(as_json: bool) -> None:
    """Check this machine and the settings; say how to mend them.

    Exits with 1 if something fails. Secrets are never shown.
    """
    checks, settings = examine()
    shown = effective(settings) if settings is not None else {}
    if as_json:
        import orjson

        healthy = all(check.status != "fail" for check in checks)
        body = {"ok": healthy, "checks": [check._asdict() for check in checks], "settings": shown}
        click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
    else:
        for check in checks:
            _tell(check)
        click.echo()
        for name, value in shown.items():
            click.echo(f"{name}={value}")
    if any(check.status == "fail" for check in checks):
        sys.exit(EXIT_FINDING)


def _tell(check: Check) -> None:
    word, colour = SIGNS[check.status]
    click.echo(f"{click.style(word, fg=colour, bold=check.status != 'ok')}  {check.name}: {check.message}")
    if check.remedy:
        click.echo(f"      {check.remedy}")


def examine() -> tuple[list[Check], Settings | None]:
    """All checks in their order, and the settings if they can be read."""
    from pearlstream.settings import load_settings

    checks = [python(), *packages(), memory()]
    try:
        settings = load_settings()
    except PearlstreamError as error:
        return [*checks, Check("settings", "fail", error.message, error.remedy)], None
    file = Path(os.environ.get("PEARLSTREAM_SETTINGS", "pearlstream.toml"))
    checks.append(Check("settings", "ok", f"read from the environment{f' and {file}' if file.is_file() else ''}"))
    looks: list[tuple[str, Callable[[Settings], Check]]] = [
        ("catalogue", catalogue),
        ("data folder", data_folder),
        ("broker", broker),
        ("store", store),
    ]
    for name, look in looks:
        try:
            checks.append(look(settings))
        except PearlstreamError as error:
            checks.append(Check(name, "fail", error.message, error.remedy))
    return [*checks, *ports(settings)], settings


# --- the machine --------------------------------------------------------------------------------------


def python() -> Check:
    """The interpreter's version."""
    first, beyond = PYTHONS
    version = ".".join(map(str, sys.version_info[:3]))
    if first <= sys.version_info[:2] < beyond:
        return Check("python", "ok", f"{version} at {sys.executable}")
    wanted = f"{first[0]}.{first[1]} to {beyond[0]}.{beyond[1] - 1}"
    return Check("python", "fail", f"{version} will not do", f"use Python {wanted}")


def packages() -> list[Check]:
    """Whether everything that the project names is installed, and in a version that it allows."""
    try:
        required = importlib.metadata.requires("pearlstream") or []
    except importlib.metadata.PackageNotFoundError:
        return [Check("packages", "fail", "pearlstream itself is not installed", "run `./dev setup`")]
    missing, embedded = [], []
    for line in required:
        name, _, marker = line.partition(";")
        problem = _lacking(name.strip())
        if problem and "extra" not in marker:
            missing.append(problem)
        elif problem and "embedded" in marker:
            embedded.append(problem)
    found = [
        Check("packages", "fail", "; ".join(missing), "run `./dev setup`, or install pearlstream again")
        if missing
        else Check("packages", "ok", f"{sum('extra' not in line for line in required)} required packages are there")
    ]
    if embedded:
        remedy = "install pearlstream[embedded], or name a Kafka and a ClickHouse in the settings"
        found.append(Check("embedded parts", "warn", "; ".join(embedded), remedy))
    return found


def _lacking(requirement: str) -> str:
    """What is wrong with a requirement (`name[extra]>=1,<2`), or nothing."""
    match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(.*)", requirement)
    assert match is not None
    name, wanted = match[1], match[2].strip()
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is missing"
    bad = [bound for bound in wanted.split(",") if bound and not _within(version, bound)]
    return f"{name} is {version}, wanted {wanted}" if bad else ""


def _within(version: str, bound: str) -> bool:
    """Whether a version keeps a bound such as `>=1.2`; bounds of another form are not judged."""
    match = re.match(r"(>=|<=|<|>|==)\s*([0-9.]+)$", bound.strip())
    if match is None:
        return True
    have, limit = _numbers(version), _numbers(match[2])
    have += (0,) * (len(limit) - len(have))
    cut = have[: len(limit)]
    return {">=": have >= limit, "<": have < limit, ">": have > limit, "<=": cut <= limit, "==": cut == limit}[match[1]]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:4])


def memory() -> Check:
    """Memory that programs can still get."""
    try:
        text = Path("/proc/meminfo").read_text()
        available = int(re.findall(r"MemAvailable:\s+(\d+)", text)[0]) * 1024
    except (OSError, IndexError):
        return Check("memory", "ok", "this system does not tell how much is left")
    said = f"{available >> 20} MiB available, {os.cpu_count()} processors"
    least, enough = MEMORY_BYTES
    if available < least:
        return Check("memory", "fail", said, "end other programs; the demo needs about 1 GiB")
    return Check(
        "memory", "ok" if available >= enough else "warn", said, "" if available >= enough else "play a smaller --rate"
    )


# --- what the settings name ---------------------------------------------------------------------------


def catalogue(settings: Settings) -> Check:
    """Every declaration, term and formula."""
    from pearlstream.catalogue import load_catalogue
    from pearlstream.program import compile_catalogue

    found = compile_catalogue(load_catalogue(settings.catalogue.overlays)).catalogue
    counts = f"{len(found.cities)} cities, {len(found.feeds)} feeds, {len(found.indicators)} indicators"
    return Check("catalogue", "ok", f"version {found.version}: {counts}, {len(found.scenarios)} scenarios")


def data_folder(settings: Settings) -> Check:
    """Whether the data folder can be written to and has room."""
    from deploy.embedded.folders import DATA_DIR_SETTING, prepare_folder

    folder = prepare_folder(settings.embedded.data_dir)
    free = shutil.disk_usage(folder).free
    said = f"{folder}, {free >> 20} MiB free"
    if free >= ROOM_BYTES:
        return Check("data folder", "ok", said)
    return Check("data folder", "warn", said, f"free some space, or set {DATA_DIR_SETTING}")


def broker(settings: Settings) -> Check:
    """The configured broker with its topics, or the embedded one."""
    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        from deploy.embedded.broker import broker_binary

        return Check("broker", "ok", f"embedded, {broker_binary(settings.embedded.data_dir)}")
    from pearlstream.broker import admin_client, topic_ids
    from pearlstream.topics import ROLES

    with admin_client(kafka) as admin:
        missing = sorted(set(ROLES) - set(topic_ids(admin, kafka, ROLES)))
    said = f"{kafka.bootstrap_servers} answers"
    if missing:
        remedy = "`pearlstream simulate` and `import` make topics; or make them as docs/reference/contract.md says"
        return Check("broker", "warn", f"{said}, without {len(missing)} topics of prefix {kafka.prefix}", remedy)
    return Check("broker", "ok", f"{said}, all topics of prefix {kafka.prefix} are there")


def store(settings: Settings) -> Check:
    """The configured store with its tables, or the embedded one."""
    if not settings.clickhouse.url:
        try:
            return Check("store", "ok", f"embedded, chDB {importlib.metadata.version('chdb')}")
        except importlib.metadata.PackageNotFoundError:
            remedy = "install pearlstream[embedded], or set PEARLSTREAM_CLICKHOUSE__URL to a ClickHouse"
            return Check("store", "fail", "the embedded store is not installed", remedy)
    from pearlstream.catalogue import load_catalogue
    from pearlstream.store import Store, StoreError, Trouble
    from sinks.clickhouse.migrate import check

    client = Store(settings.clickhouse)
    version = client.query("SELECT version()")[0][0]
    said = f"{client.where} answers, version {version}"
    try:
        check(client, load_catalogue(settings.catalogue.overlays))
    except StoreError as error:
        if error.trouble is not Trouble.SCHEMA:
            raise
        return Check("store", "warn", f"{said}; {error.message}", error.remedy)
    return Check("store", "ok", f"{said}; the database {client.database} fits the catalogue")


def ports(settings: Settings) -> Iterator[Check]:
    """Ports that the settings fix, as far as we would bind them: are they free?"""
    from deploy.embedded.ports import check_port

    fixed = {
        "EMBEDDED__BROKER_PORT": 0 if settings.kafka.bootstrap_servers else settings.embedded.broker_port,
        "EMBEDDED__STORE_PORT": 0 if settings.clickhouse.url else settings.embedded.store_port,
        "WORKER__HEALTH_PORT": settings.worker.health_port,
        "SINK__HEALTH_PORT": settings.sink.health_port,
    }
    chosen = {name: port for name, port in fixed.items() if port}
    if not chosen:
        yield Check("ports", "ok", "none is fixed; free ones are taken")
    for name, port in chosen.items():
        try:
            check_port(port, what=name.lower().replace("__", " ").replace("_", " "), setting=f"PEARLSTREAM_{name}")
            yield Check("ports", "ok", f"{port} for {name} is free")
        except PearlstreamError as error:
            yield Check("ports", "fail", error.message, error.remedy)


def effective(settings: Settings) -> dict[str, Any]:
    """Every setting by its environment name, secrets masked."""
    from pearlstream.logs import mask

    return {
        name: mask(value) if isinstance(value, str) else value
        for name, value in _flat(settings.model_dump(mode="json"), "PEARLSTREAM")
    }


def _flat(values: Mapping[str, Any], prefix: str, between: str = "_") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{between}{key.upper()}"
        if isinstance(value, dict):
            yield from _flat(value, name, "__")
        else:
            yield name, value
