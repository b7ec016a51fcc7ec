"""The panels that a page asks for, answered: only what has changed since it last asked is sent again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from dashboards.live.address import View
from dashboards.live.asking import Answer, Asker, Question, question
from dashboards.live.drawing import draw, marks_of
from dashboards.live.layout import Placed, laid_out
from dashboards.live.look import Look
from dashboards.live.shelf import Shelf, Shelved
from dashboards.model import Annotation, Kind

KEPT = 600
Marking = Mapping[Annotation, Answer]


class Wanted(NamedTuple):
    """A panel that a page has in sight, and the version of it that it has drawn."""

    key: str
    version: str

    @classmethod
    def read(cls, text: str) -> Wanted:
        """Of `key:version`."""
        key, _, version = text.rpartition(":")
        return cls(key, version)


class _Drawn(NamedTuple):
    """What was made of some answers; the same answers need not be drawn again for the next page."""

    answers: tuple[Answer, ...]
    version: str
    body: bytes


class Panels:
    """Draws panels from what the asker brings, once for all pages."""

    def __init__(self, shelf: Shelf, asker: Asker) -> None:
        self._shelf, self._asker = shelf, asker
        self._drawn: OrderedDict[tuple[object, ...], _Drawn] = OrderedDict()

    async def told(self, shelved: Shelved, view: View, wanted: Sequence[Wanted], wait_s: float) -> bytes:
        """JSON by key: the panel, `{"same": true}` if the page has it, `{"waiting": true}` if the store has not
        answered yet."""
        placed = {
            one.key: one
            for laid in laid_out(shelved.board, view.chosen, {})
            for one in laid.panels
            if one.panel.kind is not Kind.TEXT and one.panel.queries[0].of == "clickhouse"
        }
        wanted = [one for one in wanted if one.key in placed]
        asked = {one.key: _questions(placed[one.key], view) for one in wanted}
        trends = any(placed[one.key].panel.kind is Kind.TREND for one in wanted)
        marking = _marking(shelved, view) if trends else {}
        every = [one for some in asked.values() for one in some] + list(marking.values())
        answers = await self._asker.answers(list(dict.fromkeys(every)), wait_s)
        marks = {kind: answer for kind, one in marking.items() if (answer := answers[one]) is not None}
        told = {}
        for one in wanted:
            own = [answers[each] for each in asked[one.key]]
            told[one.key] = orjson.Fragment(self._one(shelved, placed[one.key], one.version, own, marks))
        return orjson.dumps(told)

    def _one(
        self, shelved: Shelved, placed: Placed, version: str, own: Sequence[Answer | None], marks: Marking
    ) -> bytes:
        there = [answer for answer in own if answer is not None]
        if len(there) < len(own):
            return b'{"waiting":true}'
        drawn = self._draw(shelved, placed, there, marks if placed.panel.kind is Kind.TREND else {})
        return b'{"same":true}' if drawn.version == version else drawn.body

    def _draw(self, shelved: Shelved, placed: Placed, own: Sequence[Answer], marks: Marking) -> _Drawn:
        shown = own[0].shown
        key = (shelved.board.uid, placed.key, tuple(sorted(placed.chosen.items())), shown.to_ms - shown.from_ms)
        answers = (*own, *marks.values())
        drawn = self._drawn.get(key)
        if drawn is None or not _same(drawn.answers, answers):
            look = Look(shelved.tongue, shown.from_ms, shown.to_ms, self._shelf.offset_ms, shelved.places)
            body = draw(
                placed.panel, own, look, [one for kind, said in marks.items() for one in marks_of(kind, said.rows)]
            )
            version = hashlib.blake2b(orjson.dumps(body), digest_size=6).hexdigest()
            drawn = _Drawn(answers, version, orjson.dumps({"version": version, **body}))
            self._drawn[key] = drawn
        self._drawn.move_to_end(key)
        while len(self._drawn) > KEPT:
            self._drawn.popitem(last=False)
        return drawn


def _same(before: Sequence[Answer], now: Sequence[Answer]) -> bool:
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))


def _questions(placed: Placed, view: View) -> list[Question]:
    return [question(query.sql, placed.chosen, view.span) for query in placed.panel.queries]


def _marking(shelved: Shelved, view: View) -> dict[Annotation, Question]:
    """What is asked for the marks that are shown without being asked for."""
    return {one: question(one.sql, view.chosen, view.span) for one in shelved.board.annotations if one.shown}
