"""The doctor: what is wrong, with its remedy, and never a secret."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deploy import doctor
from pearlstream.cli import run


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but ours, and a data folder that may be used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEARLSTREAM_EMBEDDED__DATA_DIR", str(tmp_path / "data"))


def examined(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]], dict[str, object]]:
    code = run(["doctor", "--json"])
    body = json.loads(capsys.readouterr().out)
    assert body["ok"] is (code == 0)
    return code, {check["name"]: check for check in body["checks"]}, body["settings"]


def test_a_sound_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks, settings = examined(capsys)
    assert code == 0
    assert {"python", "packages", "memory", "settings", "catalogue", "data folder", "broker", "store"} <= set(checks)
    assert settings["PEARLSTREAM_KAFKA__PARTITIONS"] == 6


def test_every_line_says_ok_warn_or_fail(capsys: pytest.CaptureFixture[str]) -> None:
    run(["doctor"])
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert all(line.startswith(("ok  ", "warn", "FAIL", "      ")) for line in lines)


def test_secrets_are_masked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__PASSWORD", "geheim")
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__URL", "http://ada:geheim@127.0.0.1:1")
    run(["doctor"])
    run(["doctor", "--json"])
    told = capsys.readouterr()
    assert "geheim" not in told.out + told.err


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEARLSTREAM_KAFKA__PARTITIONS", "many")
    code, checks, _ = examined(capsys)
    assert code == 1
    assert "PEARLSTREAM_KAFKA__PARTITIONS" in checks["settings"]["message"]


def test_a_broker_and_a_store_that_are_away_fail_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__URL", "http://127.0.0.1:1")
    code, checks, _ = examined(capsys)
    assert code == 1
    for name in ("broker", "store"):
        assert checks[name]["status"] == "fail"
        assert checks[name]["remedy"]


def test_a_taken_port_is_named_with_its_holder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PEARLSTREAM_EMBEDDED__BROKER_PORT", str(port))
        code, checks, _ = examined(capsys)
    assert code == 1
    assert str(port) in checks["ports"]["message"]
    assert "PEARLSTREAM_EMBEDDED__BROKER_PORT" in checks["ports"]["remedy"]


def test_a_data_folder_that_cannot_be_written_to_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PEARLSTREAM_EMBEDDED__DATA_DIR", str(tmp_path / "file" / "data"))
    code, checks, _ = examined(capsys)
    assert code == 1
    assert checks["data folder"]["status"] == "fail"


def test_a_wrong_overlay_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PEARLSTREAM_CATALOGUE__OVERLAYS", json.dumps([str(tmp_path / "nowhere")]))
    code, checks, _ = examined(capsys)
    assert code == 1
    assert checks["catalogue"]["status"] == "fail"


@pytest.mark.parametrize(
    ("version", "bound", "within"),
    [
        ("8.3.3", "<8.4", True),
        ("8.4.0", "<8.4", False),
        ("8.4", "<8.4", False),
        ("2.1.0", ">=2.1", True),
        ("2.0.9", ">=2.1", False),
        ("0.1.2", "==0.1.2", True),
        ("0.1.3", "==0.1.2", False),
        ("26.3", ">=9", True),
        ("1.0", "~=1.0", True),
    ],
)
def test_versions_are_held_against_their_bounds(version: str, bound: str, within: bool) -> None:
    assert doctor._within(version, bound) is within


def test_a_missing_package_is_named() -> None:
    assert doctor._lacking("no-such-package>=1") == "no-such-package is missing"
    assert doctor._lacking("click[extra]>=1") == ""
