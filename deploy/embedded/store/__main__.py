"""`python -m deploy.embedded.store --path DIR --port N`: the embedded store as a process of its own.

The password comes in the environment (PEARLSTREAM_STORE_PASSWORD) or in a file, never as an argument.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from deploy.embedded.ports import LOOPBACK
from deploy.embedded.store.bodies import BODY_LIMIT_BYTES
from deploy.embedded.store.launch import PASSWORD_VARIABLE, STORE_PORT_SETTING, STORE_USER
from pearlstream.errors import PearlstreamError, ServiceError, SettingsError

_URL_BYTES = 1 << 20
"""The longest request line, as ClickHouse has it."""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        password = _password(options.password_file)
        _check_address(options.host)
        asyncio.run(_serve(options, password))
    except PearlstreamError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.store", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="folder of the store; made if missing")
    parser.add_argument("--port", type=int, required=True, help="port; 0: any free one, see the log")
    parser.add_argument("--host", default=LOOPBACK, help="IP address to bind (default: this machine only)")
    parser.add_argument(
        "--allow-host", action="append", default=[], help="another name by which clients call us; repeatable"
    )
    parser.add_argument("--user", default=STORE_USER, help=f"user name (default {STORE_USER})")
    parser.add_argument("--password-file", type=Path, help=f"file with the password; else ${PASSWORD_VARIABLE}")
    parser.add_argument("--threads", type=int, default=8, help="statements that run at once")
    parser.add_argument("--body-mib", type=int, default=BODY_LIMIT_BYTES >> 20, help="largest body")
    return parser


def _password(file: Path | None) -> str:
    """The password, taken out of our environment. Raises SettingsError if there is none."""
    given = os.environ.pop(PASSWORD_VARIABLE, "")
    if file is not None:
        try:
            given = file.read_text().strip()
        except OSError as error:
            raise SettingsError(f"cannot read the password file {file}: {error.strerror}") from None
    if len(given) < 16:
        raise SettingsError(
            "the embedded store does not start without a password of 16 signs or more",
            remedy=f"set {PASSWORD_VARIABLE} or --password-file",
        )
    return given


def _check_address(host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        raise SettingsError(f"--host {host!r} is not an IP address", remedy="give an address, not a name") from None


async def _serve(options: argparse.Namespace, password: str) -> None:
    # Loaded here: a wrong option is answered at once, not after half a second of loading the engine.
    from deploy.embedded.store.door import Door
    from deploy.embedded.store.engine import Engine
    from deploy.embedded.store.server import Endpoint

    engine = Engine(options.path)
    hosts = [options.host, f"[{options.host}]", *options.allow_host]
    endpoint = Endpoint(
        engine, Door(options.user, password, hosts), threads=options.threads, limit_bytes=options.body_mib << 20
    )
    runner = web.AppRunner(
        endpoint.app(),
        handler_cancellation=True,
        # Bodies are unpacked by us: they may come in many frames, and must not explode.
        auto_decompress=False,
        # Clients put parameters there, and the statement of an insert.
        max_line_size=_URL_BYTES,
        access_log=None,
        keepalive_timeout=75,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, shutdown_timeout=5.0)
        try:
            await site.start()
        except OSError as error:
            raise ServiceError(
                f"cannot listen on {options.host}:{options.port}: {error.strerror}",
                remedy=f"set {STORE_PORT_SETTING} to another port, or to 0 for any free one",
            ) from None
        logging.info("listening on http://%s:%d, data in %s", *_bound(runner), engine.folder)
        await _until_told()
        await endpoint.finish()
    finally:
        await runner.cleanup()
        engine.close()


def _bound(runner: web.AppRunner) -> tuple[str, int]:
    address = runner.addresses[0]
    return str(address[0]), int(address[1])


async def _until_told() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
