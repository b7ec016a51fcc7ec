"""Faust as its own documentation writes it: one JSON message a reading, models, an agent, a windowed table.

BROKER_URL=kafka://... TOPIC_PARTITIONS=6 faust -A deploy.bench.peer.by_the_book worker

Count, sum, least and greatest by city and metric, in windows of ten seconds of event time; GET /aggregates/ shows
them. Nothing of Pearlstream is imported. Settings that are not named here are Faust's defaults: at least once, acks of
all replicas, its compiled extension.
"""

from __future__ import annotations

from math import inf
from typing import Any

import faust

WINDOW_S = 10.0

app = faust.App(
    "faust-by-the-book",
    store="memory://",
    stream_buffer_maxsize=4096,  # the default; four times as many make no difference
    producer_linger=0.05,  # seconds; by default each change of the table is sent alone, which costs a third more
    broker_session_timeout=20.0,  # the group is formed in half of it
    topic_disable_leader=True,  # nothing here is led
)


class Reading(faust.Record):
    """One value that a device has measured. `ts`: event time in seconds."""

    city: str
    device: str
    metric: str
    ts: float
    value: float


class Aggregate(faust.Record):
    """What is known of the readings of a window."""

    count: int = 0
    total: float = 0.0
    least: float = inf
    greatest: float = -inf

    def with_value(self, value: float) -> Aggregate:
        """The same with one more. A table hears of a change only if the value is set anew."""
        return Aggregate(
            count=self.count + 1,
            total=self.total + value,
            least=min(self.least, value),
            greatest=max(self.greatest, value),
        )


readings = app.topic("peer.readings", value_type=Reading)

# No `expires`: Faust goes by the wall clock there, and would forget windows of the past while they are being counted.
aggregates = (
    app.Table("aggregates", default=Aggregate, value_type=Aggregate).tumbling(WINDOW_S).relative_to_field(Reading.ts)  # type: ignore[arg-type]  # on the class it is a field's descriptor
)


@app.agent(readings)
async def aggregate(stream: faust.types.StreamT[Reading]) -> None:
    """Add each reading to its window."""
    async for reading in stream:
        key = reading.city, reading.metric
        aggregates[key] = aggregates[key].value().with_value(reading.value)


@app.page("/aggregates/")
async def show(web: Any, _request: Any) -> Any:
    """Every window that the table holds."""
    return web.json(
        [
            {"city": city, "metric": metric, "start": start, **value.asdict()}
            for ((city, metric), (start, _)), value in aggregates.table.items()
        ]
    )
