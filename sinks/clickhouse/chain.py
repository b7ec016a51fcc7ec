"""Chains: which records of a stretch of log are news, which repeat something, and what is missing between them.

Pure. A record of `accepted` names the range `(after, upto]` of `readings` that it covers, so the records of one
stage and source partition form a chain. A repeat is skipped. A record that does not join on is held until what
is missing comes, which happens *later in the log*: a stage that lost a send starts again and writes it anew.
Whoever passes over a gap nevertheless says which range is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pearlstream.errors import PositionError
from pearlstream.fold import Record
from pearlstream.position import Mark, Position, Verdict

UNCHAINED = frozenset({"devices", "truth.labels"})
"""Topics whose records are not made from others: each offset counts once."""


class Item(NamedTuple):
    """One record of a topic with what its headers say.

    `position` is None if it is unchained, or not readable. `chain` names stage and source. `weight`: about how
    many rows it will become; `size`: about how many bytes it holds in memory.
    """

    role: str
    partition: int
    record: Record
    facts: Mapping[str, str]
    position: Position | None
    chain: str
    part: int
    parts: int
    weight: int
    size: int


def item_of(role: str, partition: int, record: Record) -> Item:
    """A record with its headers read; of a repeated one the first counts."""
    facts = {name: value.decode("utf-8", "replace") for name, value in reversed(record.headers) if value is not None}
    position, chain, part, parts = None, "", 1, 1
    if role not in UNCHAINED:
        try:
            number, _, count = facts.get("part", "1/1").partition("/")
            part, parts = int(number), int(count)
            position = Position.parse(facts.get("from", ""))
            chain = f"{facts.get('fold', '').partition('@')[0]} {position.source}"
        except ValueError:
            position = None
    length, rows = len(record.value or b""), facts.get("accepted", "")
    weight = 1 + (int(rows) if rows.isdigit() else length // 100)
    return Item(role, partition, record, facts, position, chain, part, parts, weight, length + 1000)


class Progress(NamedTuple):
    """How far a chain has been applied: up to `applied`, and `part` parts of the range that ends at `upto`."""

    applied: int
    part: int = 0
    upto: int = -1


Marks = Mapping[str, Progress]
"""Progress by chain."""


class Lost(NamedTuple):
    """A range of a source that was passed over, or a record that could not be read, and why."""

    role: str
    topic_id: str
    partition: int
    after: int
    offset: int
    reason: str
    note: str = ""


@dataclass
class Walk:
    """What came of a stretch of log: items to apply in their order, what was lost, and what is still held, by
    the chain and the offset that it joins on to.
    """

    applied: list[Item] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    marks: dict[str, Progress] = field(default_factory=dict)
    repeats: int = 0
    held: dict[tuple[str, int], list[Item]] = field(default_factory=dict)


def walk(marks: Marks, items: Sequence[Item]) -> Walk:
    """Go through all items in order; what is held at the end is passed over to, naming what is lost.

    The same items after the same marks give the same walk: that is what a redo after a crash relies on.
    Raises PositionError on an overlap.
    """
    result = Walk()
    for item in items:
        _step(marks, result, item)
    for place in sorted(result.held):
        for item in sorted(result.held[place], key=lambda one: one.part):
            _pass_gap(marks, result, item)
    result.held = {}
    return result


def clean_length(marks: Marks, items: Sequence[Item], limit: int) -> int:
    """How many items may be walked so that nothing is left held: at most `limit`, or as few more as needed.

    0 if there is no such number: something is missing that has not been read yet.
    """
    trial, clean = Walk(), 0
    for number, item in enumerate(items, 1):
        if number > limit and clean:
            break
        _step(marks, trial, item)
        if not trial.held:
            clean = number
            if number >= limit:
                break
    return clean


def _step(marks: Marks, result: Walk, item: Item) -> None:
    if item.role in UNCHAINED:
        result.applied.append(item)
        return
    if item.position is None:
        result.lost.append(_unreadable(item, "no header `from` like <topic id>/<partition>/<after>/<upto>"))
        return
    verdict = _judge(marks, result, item)
    if verdict is Verdict.APPLY:
        _apply(result, item)
        _release(marks, result, item.chain)
    elif verdict is Verdict.GAP:
        result.held.setdefault((item.chain, item.position.after), []).append(item)
    else:
        result.repeats += 1


def _judge(marks: Marks, result: Walk, item: Item) -> Verdict:
    position = item.position
    assert position is not None
    progress = result.marks.get(item.chain) or marks.get(item.chain)
    if progress is None:
        # First contact. Whether something lay before it, only time tells: a lost first send is written again.
        progress = Progress(-1)
    verdict = Mark(progress.applied).judge(position)
    if verdict is not Verdict.APPLY:
        return verdict
    if progress.part and position.upto != progress.upto:
        raise PositionError(
            f"output {position} overlaps another that ends at {progress.upto}",
            remedy="this is a bug: an output's range depended on how records were batched; please report it",
        )
    if item.part <= progress.part:
        return Verdict.REPEAT
    return Verdict.APPLY if item.part == progress.part + 1 else Verdict.GAP


def _apply(result: Walk, item: Item) -> None:
    position = item.position
    assert position is not None
    result.applied.append(item)
    last = item.part >= item.parts
    before = result.marks.get(item.chain)
    applied = position.after if before is None else before.applied
    result.marks[item.chain] = Progress(position.upto) if last else Progress(applied, item.part, position.upto)


def _release(marks: Marks, result: Walk, chain: str) -> None:
    """Apply what was held of a chain and joins on now, until nothing does."""
    while waiting := result.held.pop((chain, result.marks[chain].applied), None):
        before = result.marks[chain]
        still = []
        for item in sorted(waiting, key=lambda one: one.part):
            verdict = _judge(marks, result, item)
            if verdict is Verdict.APPLY:
                _apply(result, item)
            elif verdict is Verdict.GAP:
                still.append(item)
            else:
                result.repeats += 1
        if still:
            result.held[chain, before.applied] = still
            return


def _pass_gap(marks: Marks, result: Walk, item: Item) -> None:
    """Apply a held item although something before it is missing, unless that came to light meanwhile."""
    position = item.position
    assert position is not None
    verdict = _judge(marks, result, item)
    if verdict is Verdict.REPEAT:
        result.repeats += 1
        return
    if verdict is Verdict.GAP:
        known = result.marks.get(item.chain) or marks.get(item.chain)
        progress = known or Progress(-1)
        source, reason = position.source, "gap" if known else "retention_loss"
        note = f"nothing came between {progress.applied} and {position.after} of {item.chain} in {item.role}"
        if position.after == progress.applied:
            note = f"part {progress.part + 1} to {item.part - 1} of {position} is missing in {item.role}"
        result.lost.append(
            Lost(item.role, source.topic_id, source.partition, progress.applied, position.after, reason, note)
        )
        result.marks[item.chain] = Progress(position.after, item.part - 1, position.upto)
    _apply(result, item)


def _unreadable(item: Item, note: str) -> Lost:
    offset = item.record.offset
    return Lost(item.role, "", item.partition, offset - 1, offset, "unreadable", note)


def marks_to_map(marks: Marks) -> dict[str, int]:
    """Marks as the journal keeps them: one number by name."""
    numbers: dict[str, int] = {}
    for chain, progress in marks.items():
        numbers[chain] = progress.applied
        if progress.part:
            numbers[f"{chain}#part"], numbers[f"{chain}#upto"] = progress.part, progress.upto
    return numbers


def marks_from_map(numbers: Mapping[str, int]) -> dict[str, Progress]:
    """Inverse of `marks_to_map`."""
    return {
        chain: Progress(applied, numbers.get(f"{chain}#part", 0), numbers.get(f"{chain}#upto", -1))
        for chain, applied in numbers.items()
        if "#" not in chain
    }
