"""A scenario in words: what drives it, what it does, what is claimed of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pearlstream.catalogue.models import City
from pearlstream.catalogue.scenario import Disturbance, Driver, Effect, Envelope, Scenario, Truth
from pearlstream.catalogue.wording import span

MOVES = {
    "multiply": "times",
    "add": "plus",
    "set": "becomes",
    "at_least": "is at least",
    "at_most": "is at most",
}


class ScenarioWording:
    """Says what scenarios declare, with the names of the cities."""

    def __init__(self, cities: Mapping[str, City]) -> None:
        self._cities = cities

    def names(self, codes: Iterable[str]) -> str:
        """Cities by name; a group that is one row keeps its id."""
        return ", ".join(self._cities[code].name.en if code in self._cities else code for code in codes)

    def weights(self, effect: Effect) -> str:
        """Where an effect is felt, and how strongly; cities of one weight stand together."""
        by_weight: dict[float, list[str]] = {}
        for code, weight in effect.cities.items():
            by_weight.setdefault(weight, []).append(code)
        said = [
            self.names(codes) + ("" if weight == 1 else f" ({weight:g} of it)") for weight, codes in by_weight.items()
        ]
        if effect.elsewhere:
            rest = "elsewhere" if said else "everywhere"
            said.append(rest if effect.elsewhere == 1 else f"{rest} ({effect.elsewhere:g} of it)")
        late = ", ".join(f"{self.names([code])} {minutes:g} min later" for code, minutes in effect.lag.items())
        return "; ".join([*said, *([late] if late else [])])

    def effects(self, scenario: Scenario) -> Iterator[tuple[str, str, str, str]]:
        """Each effect: what is touched, what is done to it, when, where."""
        for one in scenario.effect:
            amount = f"`{one.amount}`" if isinstance(one.amount, str) else f"{one.amount:g}"
            done = f"{MOVES[one.op]} {amount}"
            if one.where:
                done += f", only where `{one.where}`"
            if one.share < 1:
                done += f", for {one.share:.0%} of the devices"
            note = f" ({one.note})" if one.note else ""
            yield f"`{one.feed}` `{one.field}`", done + note, when(one.envelope, one.daily), self.weights(one)

    def disturbance(self, one: Disturbance) -> str:
        """What happens to the telemetry."""
        feeds = ", ".join(f"`{feed}`" for feed in one.feeds)
        if one.kind == "clock":
            what = f"the clocks of {one.share:.0%} of the devices are {one.offset_s:+g} s off"
        else:
            what = f"gateways hold everything back and send it within {one.flush_min:g} min, {one.duplicates:.0%} twice"
        if one.lost:
            what += f"; {one.lost:.0%} of the devices keep nothing"
        note = f" ({one.note})" if one.note else ""
        return f"{self.names(one.cities)}, from {clock(one.start)} for {clock(one.minutes)}: {what}: {feeds}{note}"

    def claims(self, scenario: Scenario) -> Iterator[tuple[str, str, str, str]]:
        """Each claim: what must be, of what, where, and why or with which proviso."""
        for one in scenario.truth:
            where = self.names(one.cities) or "everywhere"
            if one.at_least:
                where = f"at least {one.at_least} of {where}"
            of = one.indicator or f"`{one.feed}` `{one.field}`"
            yield of + (f" ({one.dims})" if one.dims else ""), claim(one), where, one.note


def claim(one: Truth) -> str:
    """What is claimed, without where."""
    each = " of each day" if one.daily else ""
    within = f"from {clock(one.between[0])} to {clock(one.between[1])}{each}" if one.between else ""
    match one.must:
        case "stay_clear":
            return "must not fire"
        case "may":
            return "may fire"
        case "same":
            return f"{within}: in the end the same as without the disturbances, within {one.within:.1%}"
        case "move" if one.factor is not None:
            ordinary = "number of readings" if one.count else "mean"
            bound = f"{'at least' if one.factor > 1 else 'at most'} {one.factor:g} times"
            return f"must be {bound} the ordinary {ordinary} {within}"
        case "move":
            change = one.difference or 0.0
            ordinary = "number of readings" if one.count else "mean"
            return f"must be {'above' if change > 0 else 'below'} the ordinary {ordinary} by {abs(change):g} {within}"
    said = f"must fire {within}"
    if one.after:
        said += f", after {one.after}"
    if one.reach is not None:
        said += f", reach {one.reach:g}"
    if one.clear_by is not None:
        said += f", be clear by {clock(one.clear_by)}{each}"
    return said + (", and never clears" if one.stays_open else "")


def driver(one: Driver, tracks: Mapping[str, str]) -> str:
    """What a driver is."""
    if one.value:
        said = f"`{one.value}`"
    else:
        place = f"around {tracks.get(one.track, one.track)}" if one.track else f"around {one.at}"
        said = f"{one.amount:g} {place}, {one.shape} of {one.radius_km:g} km"
    if one.lag:
        said += f", {clock(one.lag)} later"
    return said + (f", falling off within {one.memory_h:g} h" if one.memory_h else "")


def when(envelope: Envelope | None, daily: bool) -> str:
    """The course of an effect."""
    if envelope is None:
        return "always"
    parts = [f"from {clock(envelope.start)}"]
    for name in ("rise", "hold", "fall"):
        length = getattr(envelope, name)
        if length:
            parts.append(f"{name} {clock(length)}")
    return ", ".join(parts) + (", each day" if daily else "")


def clock(minutes: float) -> str:
    """A length in minutes, in hours where it is long."""
    if minutes >= 120:
        return f"{minutes / 60:g} h" if minutes % 6 == 0 else f"{int(minutes // 60)} h {minutes % 60:g} min"
    return f"{minutes:g} min"


def length(scenario: Scenario) -> str:
    """When it begins, and how long it lasts."""
    return f"from {scenario.start}, for {span(scenario.length_s)}"
