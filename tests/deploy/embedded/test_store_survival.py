"""The store's data outlive its process, and one process at a time has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import Error
from embedded_help import connect, wait_until

from deploy.embedded.store.launch import PASSWORD_VARIABLE, Store
from pearlstream.errors import ServiceError


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path)
    store.start()
    yield store
    store.stop()


def test_nothing_acknowledged_is_lost_when_the_store_is_killed(store: Store):
    client = connect(store)
    client.command("CREATE TABLE t (n Int64, pad String) ENGINE MergeTree ORDER BY n")
    acknowledged: list[int] = []
    for life in range(3):
        pid = store.child.pid or 0
        for n in range(life * 100, life * 100 + 100):
            batch = pa.table({"n": [n] * 50, "pad": ["x" * 50] * 50})
            try:
                client.insert_arrow("t", batch)
            except Error:  # in doubt: it may be there or not, but not in part
                break
            acknowledged.append(n)
            if n % 100 == 20:
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: store.child.pid not in (None, pid), 60)
        wait_until(lambda life=life: store.child.restarts == life + 1, 60)
        client = connect(store)
    counts = dict(client.query("SELECT n, count() FROM t GROUP BY n").result_rows)
    assert [n for n in acknowledged if counts.get(n) != 50] == []
    assert set(counts.values()) == {50}
    assert len(acknowledged) >= 60


def test_tables_of_the_default_database_are_there_after_a_restart(store: Store):
    client = connect(store)
    client.command("CREATE TABLE default.kept (a Int8) ENGINE MergeTree ORDER BY a")
    client.command("INSERT INTO default.kept VALUES (7)")
    for _ in range(2):
        store.stop()
        store.start()
        assert connect(store).command("SELECT a FROM default.kept") == 7


def test_tokens_are_remembered_over_a_restart(store: Store):
    client = connect(store)
    client.command(
        "CREATE TABLE t (n Int64) ENGINE MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10"
    )
    token = {"insert_deduplication_token": "t/0/5"}
    client.insert_arrow("t", pa.table({"n": [1, 2]}), settings=token)
    os.kill(store.child.pid or 0, signal.SIGKILL)
    wait_until(lambda: store.child.restarts == 1, 60)
    client = connect(store)
    client.insert_arrow("t", pa.table({"n": [1, 2]}), settings=token)
    assert client.command("SELECT count() FROM t") == 2


def test_bodies_left_behind_by_a_kill_are_cleared_away(store: Store, tmp_path: Path):
    store.stop()
    left = tmp_path / "store" / "incoming" / "left.bin"
    left.write_bytes(b"x")
    store.start()
    assert not left.exists()


def test_a_second_process_on_the_same_folder_is_told_so(store: Store, tmp_path: Path):
    argv = [sys.executable, "-P", "-m", "deploy.embedded.store", "--path", str(tmp_path / "store"), "--port", "0"]
    env = {**os.environ, PASSWORD_VARIABLE: "a password that is long enough"}
    second = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30)
    assert second.returncode == 70
    assert f"in use by another process (pid {store.child.pid})" in second.stderr
    assert str(tmp_path / "store") in second.stderr
    assert "Traceback" not in second.stderr
    assert connect(store).command("SELECT 1") == 1


def test_a_store_on_a_taken_port_is_refused(store: Store, tmp_path: Path):
    with pytest.raises(ServiceError, match="wanted for the embedded store, is held by") as caught:
        Store(tmp_path, port=store.port)
    assert "PEARLSTREAM_EMBEDDED__STORE_PORT" in caught.value.remedy


def test_a_folder_with_signs_in_its_name_is_no_trouble(tmp_path: Path):
    store = Store(tmp_path / "a b?c&d=e#f%20 'ü'")
    store.start()
    try:
        client = connect(store)
        client.command("CREATE TABLE t (n Int64) ENGINE MergeTree ORDER BY n")
        client.insert_arrow("t", pa.table({"n": [1, 2]}))
        assert client.command("SELECT count() FROM t") == 2
    finally:
        store.stop()
