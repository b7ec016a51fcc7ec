"""Keeps the device registry of this process: reads the topic `devices` from its beginning, and goes on reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition

from pearlstream.errors import EXIT_IO, EXIT_TRY_AGAIN
from pearlstream.fold import header
from pearlstream.logs import get_logger
from pearlstream.registry import RegistryBook
from streams.logread import log_reader, read_to_end

log = get_logger(__name__)

LOAD_TIMEOUT_S = 60.0
POLL_MS = 200


class RegistryReader:
    """Fills a `RegistryBook`. `start` returns once everything that was there at the start has been read."""

    def __init__(self, bootstrap: str, topic: str, book: RegistryBook) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.book = book
        self.records = 0
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, die: Callable[..., None]) -> None:
        """Begin reading; calls `die` with exit code 75 if the registry cannot be read in a minute."""
        self._task = asyncio.ensure_future(self._run(die))
        try:
            await asyncio.wait_for(self._caught_up.wait(), LOAD_TIMEOUT_S)
        except TimeoutError:
            die(EXIT_TRY_AGAIN, f"the device registry in {self.topic} could not be read in {LOAD_TIMEOUT_S:.0f} s")
        log.info("device registry read", records=self.records, version=self.book.last.version)

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, die: Callable[..., None]) -> None:
        try:
            async with log_reader(self.bootstrap, max_wait_ms=POLL_MS) as consumer:
                await self._follow(consumer)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            die(EXIT_IO, f"the reader of the device registry broke: {error!r}")

    async def _follow(self, consumer: Any) -> None:
        tp = TopicPartition(self.topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        async for _, messages in read_to_end(consumer, [tp]):
            await asyncio.to_thread(self._read, messages)
        self._caught_up.set()
        while True:
            for messages in (await consumer.getmany(tp, timeout_ms=POLL_MS)).values():
                await asyncio.to_thread(self._read, messages)

    def _read(self, messages: Sequence[Any]) -> None:
        self.book.read((message.value or b"", header(message.headers, "registry")) for message in messages)
        self.records += len(messages)
