"""Metrics of the sink, each with a line of meaning. Served on the health port as /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Metrics:
    """One set per sink, in a registry of its own, so that two in one process (tests) do not meet."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.records = Counter(
            "pearlstream_sink_records", "Records taken into the store, by topic.", ["topic"], registry=registry
        )
        self.repeats = Counter(
            "pearlstream_sink_repeated_records", "Records skipped as repeats, by topic.", ["topic"], registry=registry
        )
        self.lost = Counter(
            "pearlstream_sink_lost_ranges",
            "Source ranges passed over, by topic and reason.",
            ["topic", "reason"],
            registry=registry,
        )
        self.rows = Counter("pearlstream_sink_rows", "Rows inserted, by table.", ["table"], registry=registry)
        self.inserts = Counter("pearlstream_sink_inserts", "Insert requests that succeeded.", registry=registry)
        self.failures = Counter(
            "pearlstream_sink_store_failures",
            "Requests to the store that failed, by trouble.",
            ["trouble"],
            registry=registry,
        )
        self.insert_seconds = Histogram(
            "pearlstream_sink_insert_seconds",
            "Time of an insert request.",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.freshness_seconds = Histogram(
            "pearlstream_sink_freshness_seconds",
            "From a gateway sending a frame to its rows being visible, by frame.",
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
        )
        self.lag = Gauge(
            "pearlstream_sink_lag_records", "Records read or to be read, not stored yet.", ["topic"], registry=registry
        )
        self.held_bytes = Gauge("pearlstream_sink_held_bytes", "Bytes of records in memory.", registry=registry)
        self.breaker = Gauge(
            "pearlstream_sink_store_away", "1 while the store does not take inserts.", registry=registry
        )
