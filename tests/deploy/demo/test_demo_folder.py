"""The folder of a run: new each time, old ones removed, those in use left alone."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from deploy.demo.folder import KEEP, make_run_folder
from pearlstream.errors import ServiceError
from pearlstream.lock import FolderLock


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, two = make_run_folder(tmp_path), make_run_folder(tmp_path)
    assert one.path != two.path
    assert one.logs.is_dir()
    assert one.path.parent == tmp_path / "runs"


def test_only_the_last_runs_are_kept(tmp_path: Path) -> None:
    for day in range(1, 10):
        (tmp_path / "runs" / f"2026010{day}_000000_aaaa" / "logs").mkdir(parents=True)
    kept = make_run_folder(tmp_path)
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(left) == KEEP
    assert left[:2] == ["20260106_000000_aaaa", "20260107_000000_aaaa"]
    assert left[-1] == kept.id


def test_a_run_that_is_still_going_on_is_not_removed(tmp_path: Path) -> None:
    busy = tmp_path / "runs" / "20260101_000000_aaaa"
    for day in range(1, 10):
        (tmp_path / "runs" / f"2026010{day}_000000_aaaa").mkdir(parents=True)
    lock = FolderLock(busy / "lock", what="a run")
    make_run_folder(tmp_path)
    assert busy.is_dir()
    lock.release()


def test_whatever_else_lies_there_is_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "keep-me"
    mine.mkdir(parents=True)
    for _ in range(KEEP + 2):
        make_run_folder(tmp_path)
    assert mine.is_dir()


def test_a_folder_that_cannot_be_made_is_said_with_the_setting(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(ServiceError, match="cannot write to the data folder") as caught:
        make_run_folder(blocked / "data")
    assert "PEARLSTREAM_EMBEDDED__DATA_DIR" in caught.value.remedy


def test_process_ids_can_be_read_at_any_time(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path)
    folder.note_processes({"worker": 12})
    assert orjson.loads(folder.processes.read_bytes()) == {"worker": 12}
