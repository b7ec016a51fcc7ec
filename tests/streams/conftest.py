"""A worker as a process of its own, and the log that it works on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workers import Process, Topics


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Iterator[Topics]:
    """Fresh topics, on the embedded broker or on the one named in PEARLSTREAM_TEST_BROKER (host:port)."""
    made = Topics(os.environ.get("PEARLSTREAM_TEST_BROKER") or request.getfixturevalue("embedded_broker"))
    yield made
    made.producer.close()


@pytest.fixture
def start_worker(topics: Topics, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start worker processes; whatever still runs at the end is killed."""
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(topics, tmp_path / f"worker-{len(started)}.log", arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
