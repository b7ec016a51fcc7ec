"""An import without a broker: the same log through the same folds, in this process."""

from __future__ import annotations

from collections.abc import Callable

from pearlstream.inprocess import Folded, Lane, gathered
from pearlstream.registry import RegistryBook
from producers.importer.job import Import
from producers.importer.steps import Step, records_of

Progress = Callable[[Step, int], None]
"""Told after each step: the step, and how many readings it has come to."""


def fold_import(
    job: Import, *, partitions: int = 1, provisional: bool = False, progress: Progress | None = None
) -> Folded:
    """Run a prepared import through `admit` and `indicate`, and return what came out."""
    book = RegistryBook(job.program.catalogue.feeds)
    registry = book.add(list(job.book.records()))
    lanes = [Lane(job.program, book, number, partitions, provisional) for number in range(partitions)]
    readings = 0
    for step in job.steps():
        for partition, key, value, headers in records_of(step, registry, partitions):
            lanes[partition].take(key, value, headers)
        readings += sum(frame.rows for frame in step.frames)
        if progress is not None:
            progress(step, readings)
    for lane in lanes:
        lane.flush()
    return gathered(lanes)
