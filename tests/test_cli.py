"""The root of the command tree: the map, lazy commands, errors with their remedies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pearlstream import __version__
from pearlstream.cli import MAP, root, run, tell
from pearlstream.errors import EXIT_CONFIG, CatalogueError, PearlstreamError

HEAVY = ("polars", "faust", "chdb", "pyarrow", "numpy", "kafka", "clickhouse_connect", "pydantic", "rich", "aiohttp")


def in_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pearlstream.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pearlstream.cli import run; run(['--help']);"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"
    assert "demo" in done.stdout


@pytest.mark.parametrize("name", [name for commands in MAP.values() for name in commands])
def test_each_command_on_the_map_exists_and_says_the_same_of_itself(name: str) -> None:
    lazy = next(commands[name] for commands in MAP.values() if name in commands)
    command = lazy.load()
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=200) == lazy.line


@pytest.mark.parametrize("name", [name for commands in MAP.values() for name in commands])
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage: pearlstream" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"pearlstream {__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog"]) == 2
    assert "Did you mean 'catalogue'?" in capsys.readouterr().err


def test_a_wrong_option_is_a_usage_error() -> None:
    assert run(["demo", "--speed", "fast"]) == 2
    assert run(["demo", "--no-such-thing"]) == 2


def test_an_error_of_ours_is_told_with_its_remedy_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "show", "I43"]) == EXIT_CONFIG
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: nothing is declared as 'I43'\nRemedy: did you mean 'I43")


def test_secrets_in_errors_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    tell(PearlstreamError("cannot reach http://ada:geheim@store:8123", remedy="set password=geheim"))
    assert "geheim" not in capsys.readouterr().err


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(root, "main", interrupted)
    assert run([]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_disaster() -> None:
    done = subprocess.run(
        f"{sys.executable} -m pearlstream.cli catalogue list | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1, 141)  # click itself says 1
    assert "Traceback" not in done.stderr


def test_no_color_is_honoured_and_colour_never_reaches_a_pipe() -> None:
    assert "\x1b[" not in in_process("doctor", NO_COLOR="1").stdout
    assert "\x1b[" not in in_process("catalogue", "list").stdout


# --- catalogue ----------------------------------------------------------------------------------------


def test_the_list_names_everything_by_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["cities", "feeds", "measures", "indicators", "rules", "scenarios", "sub_items"]
    assert len(found["cities"]) == 23
    assert all(isinstance(ids, list) and ids for ids in found.values())
    assert set(found["rules"]) <= set(found["indicators"])


def test_one_kind_can_be_listed_with_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "list", "cities"]) == 0
    out = capsys.readouterr().out
    assert "cities (23)" in out
    assert "feeds" not in out


@pytest.mark.parametrize("json_too", [True, False])
def test_an_entry_is_shown_whole(json_too: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "list", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["indicators"][0]
    assert run(["catalogue", "show", first, *(["--json"] if json_too else [])]) == 0
    out = capsys.readouterr().out
    if json_too:
        assert json.loads(out)["id"] == first
    else:
        assert out.startswith(f"indicator {first}\n")


def test_a_scenario_is_found_by_its_alias(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "show", "rush", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "scenario"


def test_a_sound_catalogue_passes_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "check"]) == 0
    assert capsys.readouterr().out.startswith("ok: 23 cities, ")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_wrong_overlay_is_a_finding_with_file_and_line(
    tmp_path: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cities"
    folder.mkdir()
    (folder / "mine.toml").write_text('[[city]]\nid = "XX"\nname = { en = "X", zh = "X" }\nlongitude = 3\n')
    assert run(["catalogue", "check", str(tmp_path), *(["--json"] if as_json else [])]) == 1
    told = capsys.readouterr()
    assert f"{folder / 'mine.toml'}:4" in (told.out if as_json else told.err)
    if as_json:
        assert json.loads(told.out)["ok"] is False


def test_catalogue_errors_elsewhere_keep_their_code() -> None:
    assert CatalogueError("x").exit_code == EXIT_CONFIG
