"""Fixtures for producers: a corner of the shared broker for each test."""

from __future__ import annotations

import itertools

import pytest

from pearlstream.settings import Kafka, Settings

_numbers = itertools.count()


@pytest.fixture
def settings(embedded_broker: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a prefix that nobody else has, in the environment too."""
    prefix = f"producers{next(_numbers)}."
    monkeypatch.setenv("PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS", embedded_broker)
    monkeypatch.setenv("PEARLSTREAM_KAFKA__PREFIX", prefix)
    return Settings(kafka=Kafka(bootstrap_servers=embedded_broker, prefix=prefix))
