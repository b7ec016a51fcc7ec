"""A task or a sub-item of the plan with what speaks for it: its indicators and the feeds that they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pearlstream.catalogue.wording import limits, thresholds, title, window

if TYPE_CHECKING:
    from pearlstream.catalogue import Catalogue
    from pearlstream.catalogue.indicator import Indicator
    from pearlstream.catalogue.models import Feed, SubItem, Task


def indicators_of(declared: Catalogue, sub_item: str) -> list[Indicator]:
    """The indicators that speak for a sub-item, by id."""
    return sorted((one for one in declared.indicators.values() if one.sub_item == sub_item), key=lambda one: one.id)


def feeds_of(declared: Catalogue, sub_item: str) -> list[Feed]:
    """The feeds that these indicators read, by number; one that reads every feed of samples counts as all of them."""
    named = {measure.feed for one in indicators_of(declared, sub_item) for measure in one.measures.values()}
    found = (feed for feed in declared.feeds.values() if feed.id in named or ("*" in named and feed.emits == "samples"))
    return sorted(found, key=lambda feed: (feed.number, feed.id))


def sub_item_json(declared: Catalogue, item: SubItem) -> dict[str, Any]:
    """A sub-item as a program reads it."""
    task = declared.tasks[item.task]
    return {
        "id": item.id,
        "name": item.name.model_dump(),
        "task": {"id": task.id, "name": task.name.model_dump()},
        "feeds": [
            {"number": feed.number, "id": feed.id, "name": feed.name.model_dump()}
            for feed in feeds_of(declared, item.id)
        ],
        "indicators": [_indicator_json(one) for one in indicators_of(declared, item.id)],
    }


def _indicator_json(one: Indicator) -> dict[str, Any]:
    keys = {"id", "name", "unit", "direction", "value", "window", "alert", "reference", "definition", "sources"}
    return one.model_dump(mode="json", by_alias=True, include=keys)


def task_json(declared: Catalogue, task: Task) -> dict[str, Any]:
    """A task with its sub-items, as a program reads it."""
    items = [item for item in declared.sub_items.values() if item.task == task.id]
    return {
        "id": task.id,
        "name": task.name.model_dump(),
        "sub_items": [
            {
                "id": item.id,
                "name": item.name.model_dump(),
                "indicators": [one.id for one in indicators_of(declared, item.id)],
            }
            for item in items
        ],
    }


def sub_item_lines(declared: Catalogue, item: SubItem) -> Iterator[str]:
    """A sub-item as a person reads it."""
    task = declared.tasks[item.task]
    yield f"  {title(item.name)}"
    yield f"  task {task.id}: {title(task.name)}"
    yield "  feeds"
    for feed in feeds_of(declared, item.id):
        yield f"    {feed.number:<4} {feed.id:<18} {title(feed.name)}"
    yield "  indicators"
    for one in indicators_of(declared, item.id):
        yield f"    {one.id}: {title(one.name)}{f' ({one.unit})' if one.unit else ''}"
        for key, said in _facts(one).items():
            yield f"      {key:<11} {said}"


def _facts(one: Indicator) -> Mapping[str, str]:
    facts = {"formula": one.value, "window": window(one)}
    facts["thresholds"] = f"{thresholds(one.alert)}; {'; '.join(limits(one))}" if one.alert else "none"
    if one.definition:
        facts["definition"] = one.definition
    if one.sources:
        facts["sources"] = "; ".join(one.sources)
    return facts


def task_lines(declared: Catalogue, task: Task) -> Iterator[str]:
    """A task as a person reads it."""
    yield f"  {title(task.name)}"
    for item in declared.sub_items.values():
        if item.task == task.id:
            spoken = ", ".join(one.id for one in indicators_of(declared, item.id)) or "no indicator"
            yield f"  {item.id} {title(item.name)}: {spoken}"
