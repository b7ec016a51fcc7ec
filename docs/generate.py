"""Writes the reference pages that follow from the code and the catalogue: `python docs/generate.py`.

`tests/docs/test_reference.py` fails when a page differs from what this script would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.indicator import Base, Indicator, Measure, Reduction
from pearlstream.catalogue.models import Feed, FieldSpec, Fleet, StaticSpec
from pearlstream.catalogue.plan_view import feeds_of, indicators_of
from pearlstream.catalogue.scenario import Scenario
from pearlstream.catalogue.scenario_wording import ScenarioWording, driver, length
from pearlstream.catalogue.simulation import simulation_of
from pearlstream.catalogue.wording import limits as bounds
from pearlstream.catalogue.wording import span, thresholds, title, window
from pearlstream.frame import FRAME_REASONS, ROW_REASONS
from pearlstream.quality import Quality
from pearlstream.settings import Settings

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/generate.py; do not edit. -->"

ADMIT_REASONS: Mapping[str, str] = {
    "dedup_window_exceeded": "too many gaps in the sequence to tell whether the reading came before",
    "dup_suspect": "more than 50 repeats in a row: perhaps a restart that was not announced",
    "future": "the device's clock is more than 10 minutes ahead, or the time lies beyond 2100",
    "integer_range": "a sequence number above 2^63-1",
    "internal_error": "the stage itself failed on the record; the stream went on without it",
    "range": "a value outside the range of a field that is declared `hard`",
    "seq_conflict": "a number used just before by this device, with another time or other values; the first counts",
    "time_unit": "the time is in another unit than milliseconds",
    "time_unset": "the time lies before 2015: the device's clock was never set",
    "time_zone_suspect": "the time is a whole time zone ahead: local time sent as UTC",
    "too_late": "more than 24 h behind the clock",
}
"""What `admit` says of rows that could be decoded; the test looks for words in its code that are not here."""

FLAGS: Mapping[Quality, str] = {
    Quality.CLOCK_AHEAD: "the device's clock is more than 2 and at most 10 minutes ahead",
    Quality.TIME_ZONE_SUSPECT: "the time is a whole time zone behind, though the sequence is unbroken",
    Quality.COERCED: "numbers came as text and were read as numbers",
    Quality.RANGE: "a value outside the plausible range of its field",
    Quality.SEQ_RESTART: "the device started its sequence again; the reading belongs to a new run",
    Quality.TEXT_CLEANED: "invisible or control characters were taken out of a text",
    Quality.COUNTER_RESET: "a counter fell; the increment is the new value",
    Quality.TIME_RELATIVE: "the time was relative to now and was counted from the clock",
    Quality.TIME_AMBIGUOUS: "the local time exists twice; the first was taken",
    Quality.STUCK: "a value has stood still for longer than its field allows",
    Quality.SPIKE: "a value further from the device's last ones than its field allows",
    Quality.CLOCK_OFF: "the device's readings come minutes early or late for a while, and steadily: its clock is wrong",
    Quality.SCALE_SUSPECT: "a device's values are some ten times its neighbours', or a tenth: check its unit",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table with an empty line behind it."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


# ---------------------------------------------------------------- settings and reasons


def settings_page() -> Iterator[str]:
    """Every setting with default and meaning."""
    yield from ("# Settings", "", MADE, "")
    yield "Variables win over the file `pearlstream.toml` in the working folder, or the one that `PEARLSTREAM_SETTINGS`"
    yield "names; there `PEARLSTREAM_KAFKA__PREFIX` is `prefix` in the table `[kafka]`. A list is written as JSON in a"
    yield """variable: `PEARLSTREAM_CATALOGUE__OVERLAYS='["mine"]'`. `pearlstream doctor` shows what holds."""
    yield ""
    for group, info in Settings.model_fields.items():
        section = info.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            raise TypeError(f"settings group {group} is no table")
        yield from (f"## {group}", "", section.__doc__ or "", "")
        rows = [
            (f"`PEARLSTREAM_{group}__{name}`".upper(), default_of(field), field.description or "")
            for name, field in section.model_fields.items()
        ]
        yield from table(("variable", "default", "meaning"), rows)


def default_of(field: FieldInfo) -> str:
    """The default as one would write it; paths that differ from machine to machine are described."""
    if field.default_factory is not None:
        return "`[]`" if field.default_factory is list else "the user's data folder"
    text = "" if field.default is None else str(field.default)
    return f"`{text}`" if text else "empty"


def reasons_page() -> Iterator[str]:
    """Reason codes of quarantine, and quality flags."""
    yield from ("# Reasons and flags", "", MADE, "")
    yield "A reason says why a frame or a row lies in quarantine; the message beside it says what would have been"
    yield "right. A flag is noted on a reading that was accepted, as a bit of its column `qc`."
    yield ""
    for heading, reasons in (
        ("Whole frames", FRAME_REASONS),
        ("Rows, while they are decoded", ROW_REASONS),
        ("Rows and records, when they are judged", ADMIT_REASONS),
    ):
        yield from (f"## {heading}", "")
        yield from table(("reason", "meaning"), ((f"`{code}`", meaning) for code, meaning in sorted(reasons.items())))
    yield from ("## Flags", "")
    yield from table(("flag", "bit", "meaning"), ((f"`{f.name}`".lower(), str(f.value), FLAGS[f]) for f in Quality))


# ---------------------------------------------------------------- feeds


def feeds_page() -> Iterator[str]:
    """Every feed of the shipped catalogue."""
    yield from ("# Feeds", "", MADE, "")
    yield "What each kind of device reports, as the shipped catalogue declares it. A value outside its range is kept"
    yield "and flagged, and does not count in indicators; a float is kept to the decimals given."
    yield ""
    for feed in sorted(load_catalogue([]).feeds.values(), key=lambda feed: (feed.number, feed.id)):
        yield from feed_section(feed)


def feed_section(feed: Feed) -> Iterator[str]:
    """One feed: how it speaks, what it measures, what its devices are."""
    yield from (f"## {feed.number} {feed.id}: {title(feed.name)}".replace("##  ", "## "), "")
    often = f"every {span(feed.cadence_s)}" if feed.emits == "samples" else "whenever something happens: events"
    yield f"From a {feed.device}, {often}; schema `{feed.schema}`; sequence numbers {feed.seq}."
    shape = simulation_of(feed)
    counted = (
        f"{sum(one.count for one in shape.roster)} named one by one" if shape and shape.roster else fleet(feed.fleet)
    )
    yield f"A window waits {span(feed.hold_s)} for readings on the way. Simulated fleet: {counted}."
    yield ""
    fields = ((f"`{n}`", kind(s), s.unit, limits(s), words(s)) for n, s in feed.fields.items())
    yield from table(("field", "type", "unit", "range", "note"), fields)
    if feed.static:
        rows = ((f"`{n}`", kind(s), s.unit, words(s)) for n, s in feed.static.items())
        yield from table(("of the device, in the registry", "type", "unit", "note"), rows)
    yield from sources(feed.sources)


def kind(spec: FieldSpec | StaticSpec) -> str:
    """The type, with decimals if they count."""
    return f"float, {spec.decimals} decimals" if isinstance(spec, FieldSpec) and spec.type == "float" else spec.type


def limits(spec: FieldSpec) -> str:
    """The range, and whether it is hard."""
    if spec.min is None and spec.max is None:
        return ""
    low, high = ("" if end is None else f"{end:,.10g}" for end in (spec.min, spec.max))
    return f"{low} to {high}" + (", hard" if spec.hard else "")


def words(spec: FieldSpec | StaticSpec) -> str:
    """The note, the words of an enumeration, whether it must be there, whether neighbours are asked."""
    required = "required" if isinstance(spec, FieldSpec) and spec.required else ""
    compared = "held against its neighbours" if isinstance(spec, FieldSpec) and spec.comparable else ""
    return "; ".join(part for part in (required, ", ".join(spec.values), spec.note, compared) if part)


def fleet(of: Fleet) -> str:
    """How many devices a city has, in words."""
    if of.counts:
        return ", ".join(f"{number} in {city}" for city, number in of.counts.items())
    number = f"{of.total} spread by weight" if of.total else f"{of.k:g} x sqrt(millions of people), at least {of.least}"
    where = f", only in {', '.join(of.cities)}" if of.cities else " in each city"
    return number + where + (f", {of.per_site} a site" if of.per_site > 1 else "")


# ---------------------------------------------------------------- indicators


def indicators_page() -> Iterator[str]:
    """Every indicator of the shipped catalogue, under the sub-item of the plan that it speaks for."""
    declared = load_catalogue([])
    yield from ("# Indicators", "", MADE, "")
    yield "Live signals, not targets: each speaks for a sub-item of the provincial plan and is not its official"
    yield "measure. Thresholds are defaults of the demo, except where a limit from a norm is named. What counts, and"
    yield "when nothing is said: [decision 0005](../decisions/0005-which-readings-an-indicator-counts.md); when an"
    yield "alert opens and ends: [decision 0011](../decisions/0011-when-an-alert-opens-and-ends.md)."
    yield ""
    for card in declared.cards.values():
        yield f"The plan's only target (`{card.id}`): {title(card.name)}, {title(card.text)}. {card.note}"
        yield ""
    yield from ("## What speaks for which sub-item", "")
    rows = (
        (item.id, title(item.name), ", ".join(feed.number for feed in feeds_of(declared, item.id)), spoken)
        for item in declared.sub_items.values()
        for spoken in [", ".join(link(one) for one in indicators_of(declared, item.id))]
    )
    yield from table(("sub-item", "name", "feeds", "indicators"), rows)
    for task in declared.tasks.values():
        yield from (f"## Task {task.id}: {title(task.name)}", "")
        for item in declared.sub_items.values():
            if item.task == task.id:
                yield from (f"### {item.id} {title(item.name)}", "")
                yield from of_sub_item(declared, item.id)
    for sub_item, heading in OUTSIDE_THE_PLAN.items():
        yield from (f"## {heading}", "")
        yield from of_sub_item(declared, sub_item)


OUTSIDE_THE_PLAN: Mapping[str, str] = {
    "safety": "Safety of the city: no sub-item of the plan",
    "health": "Health of the data: no sub-item of the plan",
}


def of_sub_item(declared: Catalogue, sub_item: str) -> Iterator[str]:
    """The sections of the indicators of one sub-item."""
    for one in indicators_of(declared, sub_item):
        yield from indicator_section(one)


def link(one: Indicator) -> str:
    """A link to the section of an indicator."""
    return f"[{one.id}](#{one.id.lower()})"


def indicator_section(one: Indicator) -> Iterator[str]:
    """One indicator: what it means, how it is computed, when it is raised."""
    yield from (f'<a id="{one.id.lower()}"></a>', "", f"#### {one.id}: {title(one.name)}", "", one.definition, "")
    yield from table(("", ""), facts(one))
    yield from table(("measure", "of", "is"), ((f"`{n}`", f"`{m.feed}`", measure(m)) for n, m in one.measures.items()))
    if one.reduce:
        yield from table(("reduction", "is"), ((f"`{n}`", reduction(r)) for n, r in one.reduce.items()))
    if one.bases:
        yield from table(("base", "is"), ((f"`base_{n}`", base(b)) for n, b in one.bases.items()))
    yield from sources(one.sources)


def facts(one: Indicator) -> Iterator[tuple[str, str]]:
    """What can be said of an indicator in one line each."""
    better = {"up": "more is better", "down": "less is better", "info": "neither is better"}[one.direction]
    yield "unit", f"{one.unit or 'none'}, {one.decimals} decimals; {better}"
    yield "window", window(one)
    yield "formula", f"`{one.value}`"
    per = [*one.dims, *(["feed"] if one.per == "feed" else [])]
    if per:
        yield "one value per", ", ".join(per) + (", and one over all" if one.total else "")
    if one.stage == "cluster":
        yield "computed over", f"the group `{one.scope}` as one" if one.scope else "all cities together, a row for each"
    if one.smooth_s:
        yield "smoothed", f"over {span(one.smooth_s)}"
    for name, term in (("only readings where", one.where), ("only devices where", one.among)):
        if term:
            yield name, f"`{term}`"
    yield "says nothing below", f"{one.min_coverage:.0%} of the expected readings"
    if one.alert:
        yield "thresholds", thresholds(one.alert)
        yield "which rest on", "; ".join(bounds(one))
        if one.alert.suppressed_by:
            yield "silent while open", ", ".join(one.alert.suppressed_by)


def base(b: Base) -> str:
    """What an ordinary hour is measured by."""
    per = {"one": "as it is", "device": "per device in service"}.get(b.per, f"per unit of `{b.per}` in service")
    return f"hour-of-week median of `{b.value}`, {per}"


def measure(m: Measure) -> str:
    """What a measure adds up."""
    text = f"{m.kind} of `{m.value}`"
    text += f" where `{m.where}`" if m.where else ""
    text += f" by key `{m.key}`" if m.key else ""
    text += f", kept by {', '.join(m.by)}" if m.by else ""
    text += f", counted for `{m.city}`" if m.city else ""
    text += ", without late readings" if m.late == "exclude" else ""
    return text + f", panes of {span(m.pane_s)}"


def reduction(r: Reduction) -> str:
    """How members become one value."""
    back = f" over {span(r.span_s)}" if r.span_s else ""
    need = f", of those with {r.valid:.0%} of their samples" if r.valid else ""
    return f"{r.over} over each {r.each} of `{r.value}`{back}{need}"


# ---------------------------------------------------------------- scenarios


def scenarios_page() -> Iterator[str]:
    """Every scenario of the shipped catalogue: story, effects, claims."""
    declared = load_catalogue([])
    wording = ScenarioWording(declared.cities)
    yield from ("# Scenarios", "", MADE, "")
    yield "What the simulator can play, and what the alert rules are held to. Times count from the scenario's own"
    yield "start, and a scenario can be laid over any other. An effect acts on a field of a [feed](feeds.md), or on a"
    yield "quantity of its simulation: what is computed from that follows. A claim is one line of the truth table;"
    yield "where it differs from what was planned, [decision 0012](../decisions/0012-truth-table.md) says why."
    yield ""
    for scenario in declared.scenarios.values():
        yield from scenario_section(scenario, wording)


def scenario_section(scenario: Scenario, wording: ScenarioWording) -> Iterator[str]:
    """One scenario."""
    yield from (f"## {scenario.id} {scenario.alias}: {title(scenario.name)}", "")
    yield f"{scenario.note} It plays {length(scenario)}.".strip()
    yield ""
    tracks = {track.id: f"`{track.id}`, which moves" for track in scenario.track}
    if scenario.driver:
        yield from table(("driver", "is"), ((f"`{d.name}`", driver(d, tracks)) for d in scenario.driver))
    if scenario.effect:
        yield from table(("touches", "does", "when", "where"), wording.effects(scenario))
    for one in scenario.disturb:
        yield f"Telemetry: {wording.disturbance(one)}."
        yield ""
    if scenario.truth:
        yield from table(("claim on", "says", "where", "note"), wording.claims(scenario))


# ---------------------------------------------------------------- words


def sources(names: Sequence[str]) -> Iterator[str]:
    """Where names and limits come from."""
    if names:
        yield from (f"Sources: {'; '.join(names)}.", "")


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "settings.md": settings_page,
    "reasons.md": reasons_page,
    "feeds.md": feeds_page,
    "indicators.md": indicators_page,
    "scenarios.md": scenarios_page,
}


def page(name: str) -> str:
    """The text of one page."""
    return "\n".join(PAGES[name]()).rstrip() + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (REFERENCE / name).write_text(page(name), encoding="utf-8")
