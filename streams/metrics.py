"""The worker's metrics: every name and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from streams.stage import Stage


class Metric(NamedTuple):
    """A metric: its name without the prefix `pearlstream_worker_`, and a line of meaning."""

    name: str
    meaning: str


COUNTERS = (
    Metric("records", "source records folded"),
    Metric("batches", "calls of the fold, each with records of one partition"),
    Metric("outputs", "records handed to the producer"),
    Metric("snapshots", "snapshots acknowledged"),
    Metric("refused", "records quarantined as internal_error because the fold failed on them"),
    Metric("repeats", "records met again after a restart or a seek, and skipped"),
    Metric("seeks", "times that reading went back because records were missing or the fold had failed"),
    Metric("fold_seconds", "seconds spent folding"),
)
"""By stage."""
GAUGES = (
    Metric("lag_records", "records in the source after the last folded one"),
    Metric("applied_offset", "offset of the last folded record"),
    Metric("clock_ms", "event time of the last tick met, ms since 1970 UTC"),
)
"""By stage and source partition."""
UNACKED = Metric("unacked_bytes", "bytes of outputs that the broker has not acknowledged yet, by stage")


class WorkerMetrics(Collector):
    """Reads the stages' own counters when asked."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages

    def collect(self) -> Iterable[Any]:
        """All families."""
        for metric in COUNTERS:
            family = CounterMetricFamily(f"pearlstream_worker_{metric.name}", metric.meaning, labels=["stage"])
            for stage in self.stages:
                family.add_metric([stage.fold.name], getattr(stage.counts, metric.name))
            yield family
        unacked = GaugeMetricFamily(f"pearlstream_worker_{UNACKED.name}", UNACKED.meaning, labels=["stage"])
        for stage in self.stages:
            unacked.add_metric([stage.fold.name], stage.unacked_bytes)
        yield unacked
        yield from self._by_partition()

    def _by_partition(self) -> Iterable[Any]:
        families = {
            metric.name: GaugeMetricFamily(
                f"pearlstream_worker_{metric.name}", metric.meaning, labels=["stage", "partition"]
            )
            for metric in GAUGES
        }
        for stage in self.stages:
            lags = stage.lags()
            for number, lane in list(stage.lanes.items()):
                values = {
                    "lag_records": lags.get(number),
                    "applied_offset": lane.folding.applied,
                    "clock_ms": lane.clock_ms,
                }
                for name, value in values.items():
                    if value is not None:
                        families[name].add_metric([stage.fold.name, str(number)], value)
        yield from families.values()


def render(stages: Sequence[Stage]) -> bytes:
    """The metrics in Prometheus' text format, with memory, CPU time and open files of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(WorkerMetrics(stages))
    return generate_latest(registry)
