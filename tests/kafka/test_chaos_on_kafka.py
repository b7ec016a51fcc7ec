"""The same on a real Apache Kafka, where workers form a group, join it and leave it under load."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos_process import assert_nothing_lost, chaos, done

pytestmark = pytest.mark.kafka


def test_workers_that_join_leave_die_and_freeze_lose_and_double_nothing(tmp_path: Path, kafka_broker: str) -> None:
    only = ["--fault", "kill", "--fault", "pause", "--fault", "scale", "--target", "worker", "--target", "sink"]
    code, report, said = chaos(
        tmp_path, "--rounds", "6", "--seed", "34", "--rate", "500", "--kafka", kafka_broker, *only
    )
    assert code == 0, (said, report.get("findings"))
    assert_nothing_lost(report, 6)
    assert report["broker"] == "kafka"
    assert {("kill", "worker"), ("pause", "worker"), ("add", "worker"), ("remove", "worker")} <= set(done(report))
    assert {("kill", "sink"), ("pause", "sink")} <= set(done(report))
