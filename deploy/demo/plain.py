"""A scene as one line of text, for logs and pipes."""

from __future__ import annotations

from deploy.demo import paint
from deploy.demo.scene import Scene

NAMED = 4
"""So many of the worst signals are named in a line."""


def plain_line(scene: Scene) -> str:
    """Event time, counts, lag, freshness, alerts, and what is raised or on watch."""
    headline = scene.headline
    parts = [
        scene.local_time(),
        f"arrived {paint.count(headline.arrived)} ({paint.count(headline.arrived_per_s)}/s)",
        f"accepted {paint.count(headline.accepted)}",
        f"stored {paint.count(headline.stored)}",
        f"fresh p50 {paint.seconds(headline.freshness_p50_ms)} p99 {paint.seconds(headline.freshness_p99_ms)}",
        "behind " + "/".join("?" if lag.records is None else paint.count(lag.records) for lag in headline.lags),
    ]
    bad = sum(headline.quarantined.values())
    if bad:
        parts.append(f"quarantine {paint.count(bad)}")
    again = sum(headline.restarts.values())
    if again:
        parts.append(f"restarts {again}")
    return " | ".join([*parts, *_alerts(scene), *_states(scene)])


def _alerts(scene: Scene) -> list[str]:
    """How many alerts are open, and the newest by name."""
    if not scene.alerts:
        return []
    named = [f"{scene.place(one.city)} {one.indicator} since {scene.since(one.since_ms)}" for one in scene.alerts]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return [f"firing: {', '.join(named[:NAMED])}{more}"]


def _states(scene: Scene) -> list[str]:
    """Raised and watched signals, worst first: the first few by name, the rest as a count."""
    found = []
    for state in ("RAISED", "WATCH"):
        named = [
            f"{scene.place(city)} {one} {paint.number(signal.value, scene.catalogue.indicators[one].decimals)}"
            for (one, city), signal in sorted(scene.signals.items())
            if signal.shown == state
        ]
        if named:
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            found.append(f"{paint.look(state).word}: {', '.join(named[:NAMED])}{more}")
    return found
