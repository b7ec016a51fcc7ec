"""Runs the page until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

from aiohttp import web

from dashboards.live.guard import check_host, is_loopback
from dashboards.live.reader import Reader
from dashboards.live.server import Live
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.settings import Settings


def serve(
    settings: Settings, catalogue: Catalogue, *, host: str, port: int, tag: str, ready: Callable[[str], None]
) -> None:
    """Serve the page; `ready` is told its address when it can be opened.

    Raises SettingsError if others could reach it and nobody has to show a token, ServiceError if the port is taken.
    """
    token = settings.live.token.get_secret_value()
    check_host(host, token)
    asyncio.run(_serve(settings, catalogue, host, port, tag, token, ready))


async def _serve(
    settings: Settings, catalogue: Catalogue, host: str, port: int, tag: str, token: str, ready: Callable[[str], None]
) -> None:
    reader = Reader(settings.clickhouse)
    runner = web.AppRunner(Live(catalogue, reader, host=host, tag=tag, token=token).app(), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, shutdown_timeout=1.0).start()
        except OSError as error:
            raise ServiceError(
                f"the page cannot listen on {host}:{port}: {error.strerror or error}",
                remedy="choose another one with --port, or --port 0 for any free one",
            ) from None
        ready(_address(host, runner.addresses[0][1]))
        await _until_stopped()
    finally:
        await runner.cleanup()
        reader.close()


def _address(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" if is_loopback(host) else f"http://{shown}:{port}/?token=..."


async def _until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
