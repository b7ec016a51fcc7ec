"""The embedded store seen from outside: as a child process with an address and a password."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from deploy.embedded.child import Child, ChildSpec
from deploy.embedded.ports import LOOPBACK, check_port, choose_port

STORE_PORT_SETTING = "PEARLSTREAM_EMBEDDED__STORE_PORT"
"""Environment name of the setting that chooses the port."""

PASSWORD_VARIABLE = "PEARLSTREAM_STORE_PASSWORD"  # noqa: S105 - a name
"""Environment name by which the store is told its password."""

STORE_USER = "pearlstream"


class Store:
    """The store as a child process on the loopback address.

    Address and password stay the same over its lives, data over ours: what was answered is there after
    any kill.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, folder: str = "store") -> None:
        """Choose the port (0: any free one) and a password. Raises ServiceError if the port is taken."""
        self.port = choose_port(port, what="the embedded store", setting=STORE_PORT_SETTING)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.user = STORE_USER
        self.password = secrets.token_urlsafe(32)
        argv = [sys.executable, "-P", "-m", "deploy.embedded.store"]  # -P: not what lies in the working folder
        argv += ["--path", str(data_dir / folder), "--port", str(self.port)]
        self.child = Child(
            ChildSpec(
                name="store",
                argv=argv,
                env={PASSWORD_VARIABLE: self.password},
                log_file=data_dir / "logs" / f"{folder}.log",
                ready=f"{self.url}/ping",
                # Loading the engine from a cold disk and opening many parts take their time.
                ready_timeout_s=120.0,
                stop_timeout_s=15.0,
            )
        )

    def start(self) -> None:
        """Run it and wait until it answers. Raises ServiceError."""
        check_port(self.port, what="the embedded store", setting=STORE_PORT_SETTING)
        self.child.start()

    def stop(self) -> None:
        """End it; the data stay."""
        self.child.stop()
