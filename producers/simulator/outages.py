"""Gateways that lose their uplink: when, for how long, and what comes out of their buffers afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pearlstream.catalogue.simulation import Outage
from producers.simulator.chance import Bools, hashed, key_of, normal_of, stream
from producers.simulator.effects import chosen
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.labels import Label
from producers.simulator.rows import Rows, join_rows

Z95 = 1.6448536269514722
"""The 95th percentile of the standard normal distribution."""


class Flush(NamedTuple):
    """How a gateway that a scenario cuts off gets rid of what it holds: within `length_ms`, `duplicates` of it twice.

    `lost`: the share of devices that do not buffer. `cause`: what cuts it off.
    """

    length_ms: int
    duplicates: float
    lost: float
    cause: str


class Episode(NamedTuple):
    """One gateway of a feed without uplink, from `from_ms` until `until_ms`.

    `flush`: what happens to its readings, if not what the feed declares.
    """

    feed: str
    city: str
    gateway: int
    name: str
    from_ms: int
    until_ms: int
    flush: Flush | None = None

    @property
    def id(self) -> str:
        """A name for the episode."""
        head = f"{self.flush.cause}/" if self.flush is not None else ""
        return f"{head}{self.name}@{self.from_ms}"

    def label(self) -> Label:
        """Its truth label."""
        why = "gateway offline" if self.flush is None else f"gateway offline, {self.flush.cause}"
        return Label("gateway_outage", self.id, self.city, self.feed, self.name, self.from_ms, self.until_ms, why)


def episodes(
    fleets: Mapping[str, Fleet], outages: Mapping[str, Outage], seed: int, start_ms: int, end_ms: int
) -> list[Episode]:
    """All outages that touch [start_ms, end_ms), in order of time.

    Each city and day has a number of them that follows from the seed alone; which gateway is hit is decided by
    a lot of its own, so that another feed in the catalogue moves few of them.
    """
    cities = sorted({city.id for fleet in fleets.values() for city in fleet.cities})
    found = []
    for city in cities:
        feeds = [feed for feed, fleet in fleets.items() if city in _homes(fleet)]
        per_day = max((outages[feed].per_day for feed in feeds), default=0.0)
        for day in range(start_ms // DAY_MS - 1, end_ms // DAY_MS + 1):
            rng = stream(seed, "outage", city, day)
            for index in range(int(rng.poisson(per_day))):
                moment, length = rng.random(2)
                salt = f"{seed}/{city}/{day}/{index}"
                feed = max((key_of("outage", salt, name), name) for name in feeds)[1]
                begin_ms = day * DAY_MS + int(moment * DAY_MS)
                episode = _episode(fleets[feed], outages[feed], city, begin_ms, length, salt)
                if episode.until_ms > start_ms and episode.from_ms < end_ms:
                    found.append(episode)
    return sorted(_merged(found), key=lambda episode: (episode.from_ms, episode.name))


def _merged(found: list[Episode]) -> list[Episode]:
    """Episodes of one gateway that overlap as one: it is offline until the last of them ends."""
    merged: list[Episode] = []
    for episode in sorted(found, key=lambda episode: (episode.feed, episode.gateway, episode.from_ms)):
        last = merged[-1] if merged else None
        if last and (last.feed, last.gateway) == (episode.feed, episode.gateway) and episode.from_ms <= last.until_ms:
            merged[-1] = last._replace(until_ms=max(last.until_ms, episode.until_ms))
        else:
            merged.append(episode)
    return merged


def _homes(fleet: Fleet) -> set[str]:
    return {fleet.cities[city].id for _, city in fleet.gateways}


def _episode(fleet: Fleet, outage: Outage, city: str, begin_ms: int, length: float, salt: str) -> Episode:
    """One outage of some gateway of the city; `length` is a lot in (0, 1)."""
    ways = [(index, name) for index, (name, at) in enumerate(fleet.gateways) if fleet.cities[at].id == city]
    index, name = max(ways, key=lambda way: key_of("gateway", salt, way[1]))
    sigma = np.log(outage.p95_min / outage.median_min) / Z95
    minutes = outage.median_min * float(np.exp(sigma * normal_of(np.array([length]))[0]))
    return Episode(fleet.feed.id, city, index, name, begin_ms, begin_ms + max(1, int(minutes * 60_000)))


@dataclass
class Buffers:
    """What the gateways of one feed hold back while they are offline, and how it comes out."""

    fleet: Fleet
    outage: Outage
    episodes: Sequence[Episode]
    seed: int
    lost: int = 0
    _held: dict[Episode, list[Rows]] = field(default_factory=dict)
    _keep: dict[Flush | None, Bools] = field(default_factory=dict)

    def _buffered(self, flush: Flush | None) -> Bools:
        """Which devices of the fleet keep their readings while their gateway is offline."""
        if flush not in self._keep:
            fleet = self.fleet
            if flush is None:
                key = key_of(self.seed, fleet.feed.id, "buffered")
                self._keep[flush] = hashed(key, fleet.city, fleet.number) < self.outage.buffered
            else:
                self._keep[flush] = chosen(fleet, "", 1 - flush.lost, key_of(self.seed, "buffered", flush.cause))
        return self._keep[flush]

    def hold(self, rows: Rows) -> Rows:
        """Keep back what reaches a gateway while it is offline (or lose it), and return the rest."""
        if not self.episodes or not len(rows):
            return rows
        first, last = int(rows.arrival_ms.min()), int(rows.arrival_ms.max())
        for episode in self.episodes:
            if episode.from_ms > last or episode.until_ms <= first:
                continue
            offline = self.fleet.gateway[rows.device] == episode.gateway
            offline &= (rows.arrival_ms >= episode.from_ms) & (rows.arrival_ms < episode.until_ms)
            if offline.any():
                kept = offline & self._buffered(episode.flush)[rows.device]
                self.lost += int(offline.sum() - kept.sum())
                self._held.setdefault(episode, []).append(rows.take(kept))
                rows = rows.take(~offline)
        return rows

    def release(self, before_ms: int) -> list[Rows]:
        """What comes out of the buffers of gateways that are online again before `before_ms`.

        What comes out of one while another outage of the same gateway has begun goes into the buffer once more.
        """
        out = []
        while self.first_release_ms < before_ms:
            episode = min(self._held, key=lambda held: (held.until_ms, held.id))
            rows = self.hold(self._flush(episode, join_rows(self._held.pop(episode))))
            if len(rows):
                out.append(rows)
        return out

    @property
    def held(self) -> int:
        """Readings that are still in a buffer."""
        return sum(len(rows) for parts in self._held.values() for rows in parts)

    @property
    def first_release_ms(self) -> float:
        """When the first of the gateways that hold something is online again; infinity if none holds anything."""
        return min((float(episode.until_ms) for episode in self._held), default=float("inf"))

    def _flush(self, episode: Episode, rows: Rows) -> Rows:
        """Buffered readings in a hurry, shuffled in blocks, some twice, some later still."""
        key = key_of(self.seed, "flush", episode.id)
        spec, flush = self.outage, episode.flush
        rows = rows.take(np.argsort(rows.arrival_ms, kind="stable"))
        count = np.arange(len(rows))
        speedup = spec.speedup if flush is None else (episode.until_ms - episode.from_ms) / flush.length_ms
        due = episode.until_ms + ((rows.arrival_ms - episode.from_ms) / speedup).astype(np.int64)
        shuffled = np.lexsort((hashed(key, count), count // spec.block))
        rows = rows.take(shuffled).arriving(due)
        late = hashed(key ^ 1, count) < (spec.stragglers if flush is None else 0.0)
        extra = (hashed(key ^ 2, count) * spec.straggle_s * 1000).astype(np.int64)
        rows = rows.arriving(rows.arrival_ms + np.where(late, extra, 0))
        again = hashed(key ^ 3, count) < (spec.duplicates if flush is None else flush.duplicates)
        twice = rows.take(again)
        return join_rows([rows, twice.arriving(twice.arrival_ms + 1_000, repeat=True)])
