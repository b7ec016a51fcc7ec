"""Faults explain alerts: a rule that speaks of devices and data is right where something was wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.score.evidence import MINUTE_MS, Episode, Evidence
from pearlstream.alerts import feed_in
from pearlstream.catalogue.indicator import Indicator

_SILENCE = frozenset({"dropout", "dead", "gateway_outage"})
_WRONG_VALUES = frozenset({"outlier", "stuck", "unit", "calibration", "drift"})
_CLOCKS = frozenset({"clock_wrong"})
"""A wrong clock puts readings where nobody misses them, so they are missed where they belong."""
EXPLAINED_BY: Mapping[str, frozenset[str]] = {
    "X09": _SILENCE | _CLOCKS,
    "X10": _CLOCKS | {"gateway_outage"},
    "X11": _CLOCKS,
    "X12": _WRONG_VALUES,
    "I35c": _SILENCE | _CLOCKS,
    "I41b": _SILENCE | _CLOCKS,
    "I51b": _WRONG_VALUES,
}
"""Rules that speak of devices and data and not of the city, each with the kinds of faults of which it is right to
warn: such a fault of the city and feed explains the alert."""
AFTERMATH_MS = 60 * MINUTE_MS
"""So long after a fault its traces may still open an alert: a backlog arrives, windows of an hour remember it."""


_OF_SHARES = frozenset({"X09", "I35c", "I41b"})
AFFECTED = 0.05
"""A rule about the share of devices or readings that come is explained by the faults of single devices only if they are
so many of the fleet; of hundreds of devices some one is always broken."""


def explained(evidence: Evidence, episode: Episode, indicator: Indicator) -> bool:
    """Whether something was wrong with the data of this city and feed in the windows that opened the alert."""
    alert = indicator.alert
    windows = alert.for_city(episode.city).raise_.count if alert is not None else 1
    span_ms = (indicator.window.length_s + (windows - 1) * indicator.window.hop_s) * 1000
    feeds = {measure.feed for measure in indicator.measures.values()}
    own = feed_in(episode.dims)

    def about(feed: str, city: str) -> bool:
        return city in ("", episode.city) and (not feed or feed == own or (not own and bool({"*", feed} & feeds)))

    found = [
        label
        for label in evidence.labels
        if label.kind in EXPLAINED_BY.get(indicator.id, ())
        and about(label.feed, label.city)
        and label.from_ms <= episode.opened_ms
        and label.until_ms + AFTERMATH_MS >= episode.opened_ms - span_ms
    ]
    if indicator.id not in _OF_SHARES or any(label.kind == "gateway_outage" for label in found):
        return bool(found)
    affected = {(label.feed, label.city, label.device) for label in found}
    fleet = sum(count for (feed, city), count in evidence.devices.items() if about(feed, city))
    return bool(affected) and len(affected) >= AFFECTED * fleet
