"""Ports: free, taken, chosen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.ports import LOOPBACK, check_port, choose_port, holder
from pearlstream.errors import ServiceError

NAMES = {"what": "the embedded broker", "setting": "PEARLSTREAM_EMBEDDED__BROKER_PORT"}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_port_is_found_and_stays_free():
    port = choose_port(0, **NAMES)
    check_port(port, **NAMES)
    assert choose_port(port, **NAMES) == port


def test_a_taken_port_is_refused_with_the_setting_that_chooses_another(taken: int):
    with pytest.raises(ServiceError) as caught:
        choose_port(taken, **NAMES)
    assert f"port {taken}" in caught.value.message
    assert "the embedded broker" in caught.value.message
    assert "PEARLSTREAM_EMBEDDED__BROKER_PORT" in caught.value.remedy
    assert "0 for any free one" in caught.value.remedy


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells who holds a port")
def test_who_holds_a_taken_port_is_said(taken: int):
    assert f"(pid {os.getpid()})" in (holder(taken) or "")
    with pytest.raises(ServiceError, match=rf"pid {os.getpid()}"):
        check_port(taken, **NAMES)


def test_a_port_that_somebody_listens_on_for_all_addresses_is_taken():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        with pytest.raises(ServiceError):
            check_port(listener.getsockname()[1], **NAMES)
