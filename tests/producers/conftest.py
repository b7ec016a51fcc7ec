"""Fixtures for producers: a corner of the shared broker for each test."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pearlstream.settings import Kafka, Settings, SpoolSettings

_numbers = itertools.count()


@pytest.fixture
def settings(embedded_broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings with a prefix and a spool that nobody else has, in the environment too."""
    prefix = f"producers{next(_numbers)}."
    monkeypatch.setenv("PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS", embedded_broker)
    monkeypatch.setenv("PEARLSTREAM_KAFKA__PREFIX", prefix)
    monkeypatch.setenv("PEARLSTREAM_SPOOL__FOLDER", str(tmp_path / "spool"))
    return Settings(
        kafka=Kafka(bootstrap_servers=embedded_broker, prefix=prefix), spool=SpoolSettings(folder=tmp_path / "spool")
    )
