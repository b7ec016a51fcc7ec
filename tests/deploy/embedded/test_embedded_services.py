"""The services of a run together: folders, settings, order, the broker's new life."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from embedded_help import ask, connect, is_running, wait_until
from kafka import KafkaAdminClient

from deploy.embedded.memory import MemoryWatch
from deploy.embedded.supervisor import Addresses, ChildSpec, EmbeddedServices, running_services
from pearlstream.errors import ServiceError
from pearlstream.settings import Settings

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def settings(tmp_path: Path, **changes: dict[str, object]) -> Settings:
    embedded = {"data_dir": tmp_path / "data", **changes.pop("embedded", {})}
    return Settings(embedded=embedded, **changes)


EXTERNAL_STORE = {"url": "http://store.example:8123", "user": "writer", "password": "secret"}
EXTERNAL_KAFKA = {"bootstrap_servers": "kafka.example:9092"}


def test_both_services_are_started_and_their_addresses_work(tmp_path: Path):
    with EmbeddedServices(settings(tmp_path)) as services:
        addresses = services.addresses
        found = running_services(tmp_path / "data")
        assert found == addresses
        assert addresses.clickhouse_password not in repr(addresses)
        store = type("S", (), {"url": addresses.clickhouse_url, "user": addresses.clickhouse_user})
        store.password = addresses.clickhouse_password
        assert connect(store).command("SELECT 1") == 1
        admin = KafkaAdminClient(bootstrap_servers=addresses.bootstrap_servers)
        assert list(admin.list_topics()) == []
        admin.close()
        assert set(addresses.environment()) == {
            "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS",
            "PEARLSTREAM_CLICKHOUSE__URL",
            "PEARLSTREAM_CLICKHOUSE__USER",
            "PEARLSTREAM_CLICKHOUSE__PASSWORD",
        }
        pids = [child.pid for child in services.children]
        assert (services.broker_memory() is not None) == Path("/proc/self/statm").exists()
    assert len(pids) == 2
    assert not [pid for pid in pids if pid and is_running(pid)]
    assert running_services(tmp_path / "data") is None
    assert not (tmp_path / "data" / "services.json").exists()
    assert {file.name for file in (tmp_path / "data" / "logs").iterdir()} == {"broker.log", "store.log"}


def test_what_the_settings_name_is_not_started(tmp_path: Path):
    with EmbeddedServices(settings(tmp_path, clickhouse=EXTERNAL_STORE)) as services:
        assert [child.spec.name for child in services.children] == ["broker"]
        assert services.addresses.clickhouse_url == "http://store.example:8123"
        assert services.addresses.clickhouse_password == "secret"
    with EmbeddedServices(settings(tmp_path, kafka=EXTERNAL_KAFKA, clickhouse=EXTERNAL_STORE)) as services:
        assert services.children == []
        assert services.addresses.bootstrap_servers == "kafka.example:9092"
        assert services.broker_memory() is None


def test_clients_end_before_the_services_that_they_use(tmp_path: Path):
    ended = tmp_path / "ended"
    code = f"""
        import os, signal, sys, time
        def end(*_):
            with open({str(ended)!r}, 'a') as file: file.write(sys.argv[1] + ' ')
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        open({str(ended)!r} + sys.argv[1], 'w').close()
        time.sleep(60)
    """
    services = EmbeddedServices(settings(tmp_path, clickhouse=EXTERNAL_STORE))
    services.start()
    for name in ("worker", "sink"):
        argv = [sys.executable, "-c", textwrap.dedent(code), name]
        ready = Path(str(ended) + name).exists
        services.run(ChildSpec(name, argv, tmp_path / f"{name}.log", ready=ready))
    assert [child.spec.name for child in services.children] == ["broker", "worker", "sink"]
    services.stop()
    assert ended.read_text().split() == ["sink", "worker"]
    with pytest.raises(ServiceError, match="ending"):
        services.run(ChildSpec("late", SLEEP, tmp_path / "late.log"))


def test_a_new_life_of_the_broker_goes_by_the_owner(tmp_path: Path):
    told: list[object] = []
    back = threading.Event()

    def lost() -> None:
        services.stop_clients()
        told.append([child.spec.name for child in services.children])

    def returned(addresses: Addresses) -> None:
        admin = KafkaAdminClient(bootstrap_servers=addresses.bootstrap_servers)
        told.append(list(admin.list_topics()))
        admin.close()
        services.run(ChildSpec("worker", SLEEP, tmp_path / "worker.log"))
        back.set()

    services = EmbeddedServices(settings(tmp_path, clickhouse=EXTERNAL_STORE), broker_lost=lost, broker_back=returned)
    with services:
        worker = services.run(ChildSpec("worker", SLEEP, tmp_path / "worker.log"))
        broker = services.children[0]
        os.kill(broker.pid or 0, signal.SIGKILL)
        assert back.wait(30)
        assert told == [["broker"], []]
        assert not worker.alive
        assert [child.alive for child in services.children] == [True, True]
        services.check()


def test_a_part_that_is_given_up_is_an_error_of_the_run(tmp_path: Path):
    with EmbeddedServices(settings(tmp_path, clickhouse=EXTERNAL_STORE)) as services:
        services.check()
        argv = [sys.executable, "-c", "import time; time.sleep(0.05); raise SystemExit(78)"]
        services.run(ChildSpec("sink", argv, tmp_path / "sink.log"))

        def failed() -> bool:
            try:
                services.check()
            except ServiceError as error:
                return "sink refuses to start" in error.message
            return False

        wait_until(failed)


def test_a_file_in_place_of_the_data_folder_is_said_with_the_setting(tmp_path: Path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ServiceError) as caught:
        EmbeddedServices(settings(tmp_path)).start()
    assert str(tmp_path / "data") in caught.value.message
    assert "PEARLSTREAM_EMBEDDED__DATA_DIR" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_data_folder_is_said_with_the_setting(tmp_path: Path):
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(ServiceError, match="Permission denied") as caught:
        EmbeddedServices(settings(tmp_path)).start()
    assert "PEARLSTREAM_EMBEDDED__DATA_DIR" in caught.value.remedy


def test_a_full_data_folder_is_said_with_the_room_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from deploy.embedded import folders

    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: type("U", (), {"free": 10 << 20}))
    with pytest.raises(ServiceError, match="10 MiB left, 256 MiB are needed"):
        EmbeddedServices(settings(tmp_path)).start()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path):
    with EmbeddedServices(settings(tmp_path, clickhouse=EXTERNAL_STORE)):
        with pytest.raises(ServiceError, match=rf"in use by another process \(pid {os.getpid()}\)") as caught:
            EmbeddedServices(settings(tmp_path)).start()
        assert "PEARLSTREAM_EMBEDDED__DATA_DIR" in caught.value.remedy


def test_a_taken_port_leaves_nothing_running(tmp_path: Path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        services = EmbeddedServices(settings(tmp_path, embedded={"broker_port": port}))
        with pytest.raises(ServiceError, match=f"port {port}"):
            services.start()
    assert not [child for child in services.children if child.alive]
    assert running_services(tmp_path / "data") is None


def test_killing_the_run_ends_broker_store_and_clients(tmp_path: Path):
    code = f"""
        import sys, time
        from pathlib import Path
        from deploy.embedded.supervisor import ChildSpec, EmbeddedServices
        from pearlstream.settings import Settings
        services = EmbeddedServices(Settings(embedded={{"data_dir": {str(tmp_path / "data")!r}}}))
        services.start()
        argv = [sys.executable, "-c", "import time; time.sleep(60)"]
        services.run(ChildSpec("worker", argv, Path({str(tmp_path)!r}) / "worker.log"))
        print(*(child.pid for child in services.children), flush=True)
        time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pids = [int(word) for word in run.stdout.readline().split()]
    assert len(pids) == 3
    run.kill()
    run.wait()
    run.stdout.close()
    wait_until(lambda: not [pid for pid in pids if is_running(pid)])
    with EmbeddedServices(settings(tmp_path)) as services:  # nothing is left that would be in the way
        store = type("S", (), {"url": services.addresses.clickhouse_url, "user": services.addresses.clickhouse_user})
        store.password = services.addresses.clickhouse_password
        assert ask(store, b"SELECT 1").body == b"1\n"


def test_how_long_the_broker_may_go_on_follows_from_its_growth():
    now, rss = [0.0], [100]
    watch = MemoryWatch(lambda: rss[0], limit_bytes=1100, clock=lambda: now[0])
    watch.begin()
    first = watch.look()
    assert first is not None
    assert first.seconds_left is None
    now[0], rss[0] = 10.0, 200
    later = watch.look()
    assert later is not None
    assert later.seconds_left == pytest.approx(90.0)
    assert not later.full
    rss[0] = 1200
    end = watch.look()
    assert end is not None
    assert end.full
    assert end.seconds_left == 0.0
