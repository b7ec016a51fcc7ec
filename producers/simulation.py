"""Plays a simulated log onto Kafka: topics, time's claim, registry, then step after step at its pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from pearlstream.broker import admin_client, ensure_topics
from pearlstream.frame import frame_headers
from pearlstream.settings import Settings
from producers.claim import ClaimKeeper, TimeClaim
from producers.kafka_writer import Compression, KafkaClaimLog, KafkaWriter
from producers.pacing import Pacer
from producers.simulator.ledger import Ledger
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation, Step
from producers.spool.writer import SpooledWriter, open_spool
from producers.writer import Writer

Progress = Callable[[Step, Ledger, float], None]
"""Told after each step: the step, the books so far, and by how many seconds the run is behind."""


@dataclass(frozen=True)
class Played:
    """What came of a run. `stopped`: it was ended before its time. `kept`: records in the spool that the broker has
    not acknowledged; the next run sends them first."""

    ledger: Ledger
    registry: str
    driver: str
    stopped: bool
    wall_s: float
    kept: int = 0


def play(
    plan: Plan,
    settings: Settings,
    pacer: Pacer,
    *,
    progress: Progress | None = None,
    compression: Compression = "none",
) -> Played:
    """Write the log of a plan to the broker. Stopping the pacer ends it cleanly after the step at hand.

    A run that keeps pace with something writes by way of a spool, so that it goes on while the broker is away; one that
    goes as fast as it can waits instead, and can be played again.

    Raises DriverConflict if somebody else drives time, ServiceError if the broker is not there at the start or refuses
    records, or if the spool fails; what the ledger counts has then been taken, but not all of it acknowledged.
    """
    with ExitStack() as stack:
        with admin_client(settings.kafka) as admin:
            topics = ensure_topics(admin, settings.kafka)
        began = time.monotonic()
        simulation = Simulation(plan)  # before the claim, which would grow old while a big fleet is built
        ledger = Ledger()
        claims = KafkaClaimLog(settings.kafka)
        claim = TimeClaim(claims, "simulate")
        keeper = ClaimKeeper(claim, claims.close)
        stack.callback(keeper.close)
        driver = keeper.take()
        pacer.beat = keeper.check
        if not pacer.with_wall:
            pacer.free_after_ms = plan.end_ms  # nobody wants to watch the last stragglers come in
        writer = _writer(settings, pacer, topics["readings"], compression, 1 if plan.frame_ms else 5)
        stack.callback(writer.close)
        for step in simulation.steps():
            _play_step(step, writer, pacer, driver)
            ledger.note(step.frames)
            ledger.note_tick(step.clock_ms)
            keeper.ticked(step.clock_ms)
            if progress is not None:
                progress(step, ledger, pacer.behind_s(step.clock_ms))
            if pacer.stop.is_set():
                break
        stopped = pacer.stop.is_set()
        kept = writer.finish(pacer.stop)
        if keeper.stop() and not kept:
            claim.release(ledger.last_clock_ms)
        ledger.lost = simulation.lost()
        return Played(ledger, simulation.registry, driver, stopped, time.monotonic() - began, kept)


def _writer(settings: Settings, pacer: Pacer, topic_id: str, compression: Compression, linger_ms: int) -> Writer:
    """The way that suits the pace. A spool is meant for one life of the topic: what it holds would stop another's time.

    Raises SpoolError.
    """
    kafka = settings.kafka
    if not pacer.speed or not settings.spool.max_mb:
        return KafkaWriter(kafka, compression=compression, linger_ms=linger_ms)
    spool = open_spool(settings.spool, settings.spool_folder / f"simulate-{kafka.prefix}", topic_id)
    return SpooledWriter(
        kafka, spool, sync_s=settings.spool.sync_s, stop=pacer.stop, compression=compression, linger_ms=linger_ms
    )


def _play_step(step: Step, writer: Writer, pacer: Pacer, driver: str) -> None:
    """Registry first and acknowledged, then frames when their gateways close them, then the tick."""
    if step.devices:
        writer.register(step.devices)
    writer.send_labels(label.value() for label in step.labels)
    for frame in step.frames:
        pacer.wait_until(frame.close_ms)  # a stopped run sends the rest of its step at once, and ends with its tick
        sent_ms = int(time.time() * 1000)
        headers = frame_headers(frame.feed, frame.content_type, frame.gateway, sent_ms, sim=True)
        writer.send_frame(frame.city, frame.payload(), headers)
    pacer.wait_until(step.clock_ms)
    writer.send_tick(step.tick(driver))
