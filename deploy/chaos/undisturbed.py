"""The same log in process, undisturbed: the books of what was sent, and the fingerprint that indicators must have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from deploy.chaos.books import Books
from pearlstream.catalogue import Catalogue
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Lane, gathered
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation, Step, log_steps


class Undisturbed(NamedTuple):
    """What the log of a run holds and says. `settled`: rows and fingerprint of the settled indicators."""

    books: Books
    settled: tuple[int, str]


def undisturbed(catalogue: Catalogue, plan: Plan, until_ms: int, partitions: int) -> Undisturbed:
    """Produce the log of a plan again, up to the tick at `until_ms`, book it, and fold it in process."""
    program, registry = compile_catalogue(catalogue), RegistryBook(catalogue.feeds)
    lanes = [Lane(program, registry, number, partitions, provisional=False) for number in range(partitions)]
    books = Books()
    for step in _until(plan, until_ms):
        registry.read(step.devices)
        books.note(step.frames)
        for number, log in log_steps([step], partitions).items():
            for record in log.records:
                lanes[number].take(record.key, record.value or b"", record.headers)
    for lane in lanes:
        lane.flush()
    return Undisturbed(books, fingerprint(gathered(lanes).indicators))


def _until(plan: Plan, until_ms: int) -> Iterator[Step]:
    for step in Simulation(plan).steps():
        if step.clock_ms > until_ms:
            return
        yield step
