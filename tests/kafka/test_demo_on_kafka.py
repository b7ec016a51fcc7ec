"""The whole pipeline on a real Apache Kafka broker: the same code, other settings, the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_process import Demo, assert_exact
from plain_run import MINUTES, in_process

pytestmark = pytest.mark.kafka


def test_the_pipeline_is_exact_on_apache_kafka_though_worker_and_sink_are_killed(
    tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> None:
    settings = {
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka_broker,
        "PEARLSTREAM_KAFKA__PREFIX": kafka_prefix,
    }
    quiet, broken = tmp_path / "quiet", tmp_path / "broken"
    quiet.mkdir()
    broken.mkdir()
    demo = Demo(quiet, "--duration", f"{MINUTES}m", "--speed", "max", "--seed", "7", **settings)
    assert demo.ended() == 0, demo.said
    assert_exact(demo.report)

    again = Demo(broken, "--duration", f"{MINUTES}m", "--speed", "30", "--seed", "7", **settings)
    again.waits_for("first indicators")
    again.kill("worker")
    again.waits_for("worker is back (restart 1)")
    again.kill("sink")
    assert again.ended() == 0, again.said
    assert_exact(again.report)
    rows, sha256 = in_process(7)
    assert rows > 100
    assert demo.report["settled"] == again.report["settled"] == {"rows": rows, "sha256": sha256}
