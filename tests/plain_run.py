"""The first minutes of the morning rush, folded in process: what every other run of them must say, too."""

from __future__ import annotations

from pearlstream.catalogue import load_catalogue
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Lane, gathered
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.plan import make_plan
from producers.simulator.run import log_steps, simulate

MINUTES = 12
PARTITIONS = 6


def in_process(seed: int, minutes: int = MINUTES) -> tuple[int, str]:
    """The fingerprint of a simulated run that met no broker, no worker and no store."""
    catalogue = load_catalogue()
    plan = make_plan(catalogue, [("SC02", 0)], seed=seed, duration_ms=minutes * 60_000)
    program, book = compile_catalogue(catalogue), RegistryBook(catalogue.feeds)
    steps = list(simulate(plan))
    book.read(record for step in steps for record in step.devices)
    lanes = []
    for partition, log in log_steps(steps, PARTITIONS).items():
        lane = Lane(program, book, partition, PARTITIONS, provisional=False)
        for record in log.records:
            lane.take(record.key, record.value or b"", record.headers)
        lane.flush()
        lanes.append(lane)
    return fingerprint(gathered(lanes).indicators)
