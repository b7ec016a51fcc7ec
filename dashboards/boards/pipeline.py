"""The pipeline itself, for whoever is on call: from Prometheus, and from the store's own books."""

from __future__ import annotations

from dashboards import words
from dashboards.boards.common import board_of
from dashboards.look import AMBER, GREEN, RED
from dashboards.model import Board, Column, Kind, Panel, Query, Section, Step, Tongue
from dashboards.queries import flow
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Name


def pipeline_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """Rates, lag, freshness, errors, memory, size of the store."""
    sections = [
        Section("", [*_stats(tongue), *_trends(tongue)]),
        Section(tongue(words.STORE), [_taken_in(tongue), _sizes(tongue)]),
    ]
    return board_of("pipeline", tongue(words.PIPELINE_BOARD), tongue, catalogue, sections, span="now-1h")


def _prom(expression: str, name: str = "A", legend: str = "", *, series: bool = True) -> Query:
    return Query(expression, series=series, name=name, of="prometheus", legend=legend)


def _stats(tongue: Tongue) -> list[Panel]:
    def stat(title: Name, expression: str, unit: str, steps: tuple[Step, ...], decimals: int = 0) -> Panel:
        return Panel(
            kind=Kind.STAT, title=tongue(title), width=4, height=4, queries=(_prom(expression, series=False),),
            unit=unit, decimals=decimals, steps=steps, no_data=tongue(words.NO_DATA),
        )  # fmt: skip

    fine = (Step(None, GREEN),)
    return [
        stat(words.PROCESSES_UP, 'sum(up{job=~"pearlstream.*"})', "", (Step(None, RED), Step(1, GREEN))),
        stat(words.RECORDS, "sum(rate(pearlstream_worker_records_total[5m]))", "/s", fine, 1),
        stat(
            words.LAG, "sum(pearlstream_worker_lag_records) + sum(pearlstream_sink_lag_records)", "",
            (Step(None, GREEN), Step(5000, AMBER), Step(50000, RED)),
        ),
        stat(
            words.FRESHNESS_P99,
            "histogram_quantile(0.99, sum by (le) (rate(pearlstream_sink_freshness_seconds_bucket[5m])))", "s",
            (Step(None, GREEN), Step(5, AMBER), Step(30, RED)), 1,
        ),
        stat(
            words.STORE_FAILURES, "sum(increase(pearlstream_sink_store_failures_total[1h])) or vector(0)", "",
            (Step(None, GREEN), Step(1, AMBER), Step(50, RED)),
        ),
        stat(
            words.LOST, "sum(pearlstream_sink_lost_ranges_total) or vector(0)", "", (Step(None, GREEN), Step(1, RED)),
        ),
    ]  # fmt: skip


def _trends(tongue: Tongue) -> list[Panel]:
    def trend(title: Name, *asked: Query, unit: str = "", empty: str = "") -> Panel:
        return Panel(
            kind=Kind.TREND, title=tongue(title), width=12, height=8, queries=asked, unit=unit, least=0,
            no_data=tongue(words.NO_DATA), empty=empty,
        )  # fmt: skip

    seconds, taken = "pearlstream_worker_fold_seconds_total", "pearlstream_sink_freshness_seconds_bucket"
    return [
        trend(
            words.RECORDS,
            _prom("sum by (stage) (rate(pearlstream_worker_records_total[1m]))", legend="{{stage}}"),
            _prom("sum by (topic) (rate(pearlstream_sink_records_total[1m]))", "B", "sink {{topic}}"),
            unit="/s",
        ),
        trend(
            words.LAG,
            _prom("sum by (stage) (pearlstream_worker_lag_records)", legend="{{stage}}"),
            _prom("sum by (topic) (pearlstream_sink_lag_records)", "B", "sink {{topic}}"),
        ),
        trend(
            words.FRESHNESS,
            _prom(f"histogram_quantile(0.5, sum by (le) (rate({taken}[1m])))", legend="p50"),
            _prom(f"histogram_quantile(0.99, sum by (le) (rate({taken}[1m])))", "B", "p99"),
            unit="s",
        ),
        trend(
            words.BATCH_SIZE,
            _prom(
                "sum by (stage) (rate(pearlstream_worker_records_total[1m])) "
                "/ sum by (stage) (rate(pearlstream_worker_batches_total[1m]))",
                legend="{{stage}}",
            ),
        ),
        trend(words.FOLDING, _prom(f"sum by (stage) (rate({seconds}[1m]))", legend="{{stage}}"), unit="s/s"),
        trend(
            words.STORE_FAILURES,
            _prom("sum by (trouble) (rate(pearlstream_sink_store_failures_total[1m]))", legend="{{trouble}}"),
            _prom("sum by (stage) (rate(pearlstream_worker_refused_total[1m]))", "B", "{{stage}}"),
            unit="/s",
            empty="nothing has failed",
        ),
        trend(
            words.ROWS_STORED,
            _prom("sum by (table) (rate(pearlstream_sink_rows_total[1m]))", legend="{{table}}"),
            unit="/s",
        ),
        trend(
            words.MEMORY,
            _prom('process_resident_memory_bytes{job=~"pearlstream.*"}', legend="{{job}} {{instance}}"),
            unit="grafana:bytes",
        ),
    ]


def _taken_in(tongue: Tongue) -> Panel:
    """What the store's own books say came in, for those who have no Prometheus."""
    return Panel(
        kind=Kind.TREND, title=tongue(words.RATE), width=24, height=8,
        queries=(flow.readings_over_time("accepted", "1 = 1"),), unit="/s", decimals=1, least=0,
        no_data=tongue(words.NO_DATA),
    )  # fmt: skip


def _sizes(tongue: Tongue) -> Panel:
    return Panel(
        kind=Kind.TABLE,
        title=tongue(words.SIZES),
        width=24,
        height=10,
        queries=(Query(flow.SIZES),),
        columns={
            "table": Column(tongue(words.TABLE)),
            "rows": Column(tongue(words.ROWS), decimals=0),
            "bytes": Column(tongue(words.BYTES), unit="grafana:bytes"),
            "parts": Column(tongue(words.PARTS), decimals=0),
        },
    )
