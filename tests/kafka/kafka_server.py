"""A real Apache Kafka broker for tests: one JVM in KRaft mode on loopback, without containers.

    with KafkaServer(folder) as kafka:
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)

Java 17 and Maven must be on PATH. Maven brings the jars named in `pom.xml` once into a cache folder; a broker
is ready about five seconds after `start`.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.etree import ElementTree

POM = Path(__file__).with_name("pom.xml")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
JVM = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
]

# What a small, quick, single broker needs; the rest is Kafka's default.
BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A broker that was killed may come back after this time, not after nine seconds.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.segment.bytes": "16777216",
    "log.cleaner.dedupe.buffer.size": "4194304",
}


class KafkaUnavailableError(RuntimeError):
    """No broker can be had on this machine; the message names what is missing and the remedy."""


class KafkaServer:
    """One broker that is its own controller. Its data live in `folder` and outlast `stop` and `kill`."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._port, self._controller_port = free_ports(2)

    @property
    def bootstrap(self) -> str:
        """The address for clients; it stays the same when the broker is started again."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the broker and return once it answers.

        Raises `KafkaUnavailableError` if the machine lacks what it needs, `RuntimeError` with its log if it fails.
        """
        jars = kafka_jars()
        self._write_config()
        if not (self.folder / "data").exists():
            self._format(jars)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._java(jars, "kafka.Kafka", str(self._config)),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Let the broker shut down; kill it if it takes longer than `STOP_TIMEOUT_S`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the broker's own log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _write_config(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = f"127.0.0.1:{self._controller_port}"
        settings = BROKER | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.folder / "data"),
        }
        lines = [f"{name}={value}" for name, value in (settings | self._settings).items()]
        self._config.write_text("\n".join(lines) + "\n")

    def _format(self, jars: Path) -> None:
        # An id that begins with a dash would be read as an option.
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = self._java(jars, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config))
        done = subprocess.run(tool, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"Kafka could not format its storage:\n{done.stdout}{done.stderr}")

    def _java(self, jars: Path, main_class: str, *arguments: str) -> list[str]:
        return [find_program("java"), *JVM, "-cp", f"{jars}/*", main_class, *arguments]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not broker_answers(self.bootstrap):
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Kafka ended while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not answer within {START_TIMEOUT_S} s:\n{self.log_tail()}")
            time.sleep(0.2)


def kafka_jars() -> Path:
    """The folder with Kafka's jars; Maven fills it once for each version."""
    folder = cache_folder() / f"kafka-{kafka_version()}"
    if folder.exists():
        return folder
    maven = find_program("mvn")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as fetching:
        jars = Path(fetching) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        fetch = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(POM), *goal]
        done = subprocess.run(fetch, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KafkaUnavailableError(f"Maven could not fetch Kafka; is there a network?\n{done.stdout[-2000:]}")
        # Another test run may have been first; a renamed folder is whole, or it is not there.
        if not folder.exists():
            jars.rename(folder)
    return folder


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pearlstream"


def kafka_version() -> str:
    version = ElementTree.parse(POM).findtext("properties/kafka.version")
    if version is None:
        raise RuntimeError(f"{POM} names no kafka.version")
    return version


def find_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        remedy = "on Debian and Ubuntu: apt install maven default-jre-headless"
        raise KafkaUnavailableError(f"a real Kafka broker needs Java 17 and Maven; {name} is not on PATH ({remedy})")
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that were free just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def broker_answers(bootstrap: str) -> bool:
    """Whether the broker has joined its cluster and names itself in the metadata."""
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=1_000)
    except KafkaError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()
