"""The run: one step per tick of event time, each with the frames that arrive in it and the tick that ends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pearlstream.catalogue.models import Feed, Framing
from pearlstream.catalogue.scenario_check import check_scenario
from pearlstream.catalogue.simulation import Faults, Simulate, simulation_of
from pearlstream.catalogue.simulation_check import check_sensor, check_simulation
from pearlstream.fold import Log
from pearlstream.frame import Tick, expected_partition, frame_headers, tick_record
from pearlstream.registry import RegistryBook
from producers.simulator.disturb import cut_off, skews_of
from producers.simulator.fault_tables import FaultTables
from producers.simulator.faults import SensorFaults
from producers.simulator.fleet import Fleet, build_fleet, cities_of, counts
from producers.simulator.gateways import Frame, Gateways, in_order
from producers.simulator.labels import Label, scenario_labels
from producers.simulator.outages import Episode, episodes
from producers.simulator.plan import DRAIN_MS, Plan
from producers.simulator.readings import Readings
from producers.simulator.rows import Rows, join_rows
from producers.simulator.transport import Transport, Way

LEAST_SHARE = 0.05
"""Of the rate that is asked for, at least so much is left to fleets that scale, however many devices are named."""
SETTLE_MS = 30_000
"""Corrections of a window come at most once in this time of clock: so long the clock goes on after the last reading."""
DRIVER = "simulate/0"
"""Who drives time where nobody claimed it (runs in process, tests)."""


@dataclass(frozen=True)
class Step:
    """What happens between two ticks: `frames` in the order in which they are sent, then a tick of `clock_ms`.

    The first step has no frames and opens the log: its `devices` (registry records) must be acknowledged before
    any tick is written. `labels` are what the simulator does on purpose, at the step in which it begins.
    """

    clock_ms: int
    frames: tuple[Frame, ...]
    registry: str
    devices: tuple[tuple[bytes, str], ...] = ()
    """Values for the topic `devices`, each with the registry version that it completes."""
    labels: tuple[Label, ...] = ()

    def tick(self, driver: str = DRIVER) -> Tick:
        """The tick that ends the step."""
        return Tick(self.clock_ms, driver, self.registry, sim=True)


@dataclass
class _FeedRun:
    """One feed in motion."""

    readings: Readings
    sensors: SensorFaults | None
    transport: Transport
    gateways: Gateways


@dataclass
class Simulation:
    """A plan brought to life. `steps()` may be taken once."""

    plan: Plan

    def __post_init__(self) -> None:
        plan = self.plan
        self.feeds = simulated_feeds(plan)
        self.fleets = _fleets(plan, self.feeds)
        shapes = {
            feed.id: shape
            for feed in self.feeds
            if (shape := check_simulation(feed, plan.catalogue.cities)) is not None
        }
        for scenario, _ in plan.scenarios:
            check_scenario(scenario, plan.catalogue.feeds)
        faults = {feed.id: faults_over(plan, feed, shapes[feed.id]) for feed in self.feeds}
        self.outages: list[Episode] = []
        if plan.faults:
            outages = {name: faults[name].outage for name in self.fleets}
            self.outages = episodes(self.fleets, outages, plan.seed, plan.start_ms, plan.end_ms)
        for fleet in self.fleets.values():
            self.outages += cut_off(fleet, plan.scenarios)
        self._runs = {
            name: _FeedRun(
                Readings(fleet, shapes[name], plan.scenarios, plan.seed, plan.start_ms),
                SensorFaults(fleet, shapes[name], faults[name].sensor, plan) if plan.faults else None,
                Transport(fleet, faults[name], self._way(fleet), plan.seed, plan.start_ms, plan.tick_ms),
                Gateways(fleet, plan.encoding),
            )
            for name, fleet in self.fleets.items()
        }
        self.devices = self._register()
        self.registry = self.devices[-1][1] if self.devices else RegistryBook({}).last.version

    def _way(self, fleet: Fleet) -> Way:
        """What is wrong with the way of a fleet's readings."""
        outages = [episode for episode in self.outages if episode.feed == fleet.feed.id]
        return Way(bool(self.plan.faults), outages, skews_of(fleet, self.plan.scenarios, self.plan.seed))

    @property
    def readings_per_s(self) -> float:
        """Readings that the devices make in a second of event time."""
        return sum(fleet.per_s for fleet in self.fleets.values())

    def steps(self) -> Iterator[Step]:
        """The whole log, from the registry to the end of the drain."""
        plan, labels = self.plan, sorted(self._first_labels(), key=lambda label: label.from_ms)
        clock, end = plan.start_ms, 0
        while not end or clock <= end:
            frames = self._frames(clock - plan.tick_ms, clock) if clock > plan.start_ms else []
            begun = [label for label in labels if label.from_ms <= clock]
            labels = labels[len(begun) :]
            begun += self._sensor_labels(max(plan.start_ms, clock - plan.tick_ms + 1), clock + 1)
            first = clock == plan.start_ms
            yield Step(clock, tuple(frames), self.registry, self.devices if first else (), tuple(begun))
            if clock >= plan.end_ms:
                end = end or self.drained_ms()
            clock += plan.tick_ms

    def _frames(self, from_ms: int, until_ms: int) -> list[Frame]:
        """What the gateways send in one step."""
        found: list[Frame] = []
        for feed, run in self._runs.items():
            arrived = self.arrived(feed, self.reported(feed, from_ms, until_ms), until_ms)
            if arrived is not None:
                found.extend(run.gateways.frames(arrived, from_ms, until_ms))
        return in_order(found)

    def reported(self, feed: str, from_ms: int, until_ms: int) -> Rows | None:
        """What the devices of a feed report in a stretch of time, None if nothing, none after the plan's end.

        Ask for stretches in their order, each once.
        """
        run = self._runs[feed]
        made = list(run.readings.between(from_ms, min(until_ms, self.plan.end_ms)))
        if not made:
            return None
        rows = join_rows(made)
        sent = rows if run.sensors is None else run.sensors.on(rows)
        return sent if len(sent) else None

    def arrived(self, feed: str, reported: Rows | None, until_ms: int) -> Rows | None:
        """What of it, and of what was on its way, reaches the gateways before `until_ms`, the end of a step."""
        transport = self._runs[feed].transport
        if reported is not None:
            transport.offer(reported)
        return transport.arrived(until_ms)

    def drained_ms(self) -> int:
        """How long the clock goes on: until windows are settled, what is on the way is in, and corrections are out.

        Known once the plan's end is reached.
        """
        plan = self.plan
        hold = max((feed.hold_s for feed in self.feeds), default=0) * 1000
        latest = plan.end_ms + DRAIN_MS - SETTLE_MS
        last = max((run.transport.last_arrival_ms(latest) for run in self._runs.values()), default=0)
        end = max(plan.end_ms + hold + SETTLE_MS, last + SETTLE_MS + plan.tick_ms)
        return min(-(-end // plan.tick_ms) * plan.tick_ms, plan.end_ms + DRAIN_MS)

    def labels(self) -> Iterator[Label]:
        """Everything that goes wrong or happens on purpose, in no order; for a long run of many devices, a lot."""
        yield from self._first_labels()
        yield from self._sensor_labels(self.plan.start_ms, self.plan.end_ms)

    def _sensor_labels(self, from_ms: int, until_ms: int) -> list[Label]:
        """The sensor faults that begin in [from_ms, until_ms)."""
        sensors = [run.sensors for run in self._runs.values() if run.sensors is not None]
        return [label for sensor in sensors for label in sensor.labels(from_ms, until_ms)]

    def _first_labels(self) -> Iterator[Label]:
        """All labels but those of sensor faults that begin during the run."""
        yield from scenario_labels(self.plan)
        for episode in self.outages:
            yield episode.label()
        for run in self._runs.values():
            yield from run.transport.clocks.labels(self.plan.start_ms, self.plan.end_ms)
            if run.sensors is not None:
                yield from run.sensors.first_labels()

    def _register(self) -> tuple[tuple[bytes, str], ...]:
        book = RegistryBook({feed.id: feed for feed in self.feeds})
        values = (v for fleet in self.fleets.values() for v in fleet.records(self.plan.start_ms, self.plan.seed))
        return tuple((value, book.add([value])) for value in values)

    def lost(self) -> dict[str, int]:
        """Readings that devices made (or, where silent, would have made) and no gateway has sent, by cause."""
        transports = [run.transport for run in self._runs.values()]
        silent = [run.sensors.lost for run in self._runs.values() if run.sensors is not None]
        return {
            "dead": sum(lost["dead"] for lost in silent),
            "dropout": sum(lost["dropout"] for lost in silent),
            "network": sum(transport.lost for transport in transports),
            "gateway_outage": sum(transport.lost_in_outages for transport in transports),
            "on_the_way": sum(transport.on_the_way for transport in transports),
        }


def faults_over(plan: Plan, feed: Feed, shape: Simulate) -> Faults:
    """The faults of a feed: as declared, unless the plan says otherwise. Raises CatalogueError for a wrong name."""
    if not isinstance(plan.faults, FaultTables):
        return shape.faults
    faults = plan.faults.over(feed.id, shape.faults)
    check_sensor(feed, shape, faults.sensor)
    return faults


def simulated_feeds(plan: Plan) -> list[Feed]:
    """The feeds that have a declared shape and that the plan wants, framed as the plan says."""
    wanted = plan.feeds or tuple(plan.catalogue.feeds)
    feeds = [plan.catalogue.feeds[name] for name in sorted(wanted) if plan.catalogue.feeds[name].simulate]
    return [feed.model_copy(update={"framing": _framing(feed, plan)}) for feed in feeds]


def _framing(feed: Feed, plan: Plan) -> Framing:
    seconds = plan.frame_ms / 1000 if plan.frame_ms else feed.framing.seconds
    return Framing(rows=plan.frame_rows or feed.framing.rows, seconds=seconds)


def _fleets(plan: Plan, feeds: Iterable[Feed]) -> dict[str, Fleet]:
    cities = {code: city for code, city in plan.catalogue.cities.items() if not plan.cities or code in plan.cities}
    chosen = [(feed, shape, cities_of(feed, cities)) for feed in feeds if (shape := simulation_of(feed)) is not None]
    chosen = [
        (feed, shape, some) for feed, shape, some in chosen if some and sum(counts(feed, some, 1.0, shape.roster))
    ]

    def built(scale: float) -> dict[str, Fleet]:
        return {
            feed.id: build_fleet(feed, shape, some, plan.catalogue.cities, plan.seed, scale, plan.tick_ms)
            for feed, shape, some in chosen
        }

    fleets = built(1.0)
    scaling = sum(fleets[feed.id].per_s for feed, shape, _ in chosen if not shape.roster)
    if plan.rate is None or not scaling:
        return fleets
    named = sum(fleets[feed.id].per_s for feed, shape, _ in chosen if shape.roster)
    return built(max(plan.rate - named, LEAST_SHARE * plan.rate) / scaling)


def simulate(plan: Plan) -> Iterator[Step]:
    """The steps of a plan."""
    return Simulation(plan).steps()


def log_steps(steps: Iterable[Step], partitions: int, driver: str = DRIVER) -> Mapping[int, Log]:
    """The log of `readings` that steps make, by partition, as the broker would hold it (without `sent-ms`)."""
    logs = {partition: Log() for partition in range(partitions)}
    for step in steps:
        for frame in step.frames:
            key = frame.city.encode()
            headers = frame_headers(frame.feed, frame.content_type, frame.gateway, None, sim=True)
            logs[expected_partition(key, partitions)].append(key, frame.payload(), headers)
        none, empty, headers = tick_record(step.tick(driver))
        for log in logs.values():
            log.append(none, empty, headers)
    return logs
