"""Ports on the loopback address: is one free, who holds it, which one to take."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from pearlstream.errors import ServiceError

LOOPBACK = "127.0.0.1"
"""The only address that the embedded parts bind unless told otherwise."""

_LISTEN = "0A"


def check_port(port: int, *, what: str, setting: str) -> None:
    """Nothing happens if `port` of the loopback address can be bound.

    `what` names who wants it, `setting` is the environment name by which another one is chosen. Raises
    ServiceError that names the port, its holder where that can be known, and the setting.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of a former life in TIME_WAIT don't count, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            raise _refused(port, error, what, setting) from None


def choose_port(port: int, *, what: str, setting: str) -> int:
    """`port` if it is free, any free one if it is 0. Raises ServiceError as `check_port` does."""
    if port:
        check_port(port, what=what, setting=setting)
        return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def holder(port: int) -> str | None:
    """Who listens on `port`, as `name (pid n)`; None where the system does not tell."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            handles = list((process / "fd").iterdir())
            name = (process / "comm").read_text().strip()
        except OSError:  # gone meanwhile, or somebody else's
            continue
        for handle in handles:
            try:
                target = str(handle.readlink())
            except OSError:
                continue
            if target in inodes:
                return f"{name} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    """`socket:[inode]` of every listener on `port`, from the kernel's tables; empty on other systems."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _refused(port: int, error: OSError, what: str, setting: str) -> ServiceError:
    remedy = f"set {setting} to another port, or to 0 for any free one"
    if error.errno == errno.EADDRINUSE:
        by = holder(port)
        held = f"is held by {by}" if by else "is held by another program"
        return ServiceError(f"port {port} on {LOOPBACK}, wanted for {what}, {held}", remedy=remedy)
    if error.errno == errno.EACCES:
        return ServiceError(f"port {port}, wanted for {what}, needs rights that you do not have", remedy=remedy)
    return ServiceError(f"port {port} on {LOOPBACK}, wanted for {what}: {error.strerror}", remedy=remedy)
