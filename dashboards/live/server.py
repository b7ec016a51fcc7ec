"""The web server of the page: what addresses there are, and how each is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson
from aiohttp import web

from dashboards.live.address import BadAddress, Choice, Span, View, chosen_of, span_of
from dashboards.live.asking import Asker, Read, question
from dashboards.live.assets import Assets
from dashboards.live.guard import guard
from dashboards.live.layout import laid_out
from dashboards.live.page import Page
from dashboards.live.panels import Panels, Wanted
from dashboards.live.pulse import Pulse
from dashboards.live.shelf import Shelf, Shelved, tag_for
from dashboards.queries import alerting
from pearlstream.catalogue import Catalogue

PAGE_WAIT_S = 1.0
"""The page comes after so long, whatever the store has said; it asks again by itself."""
ANSWER_WAIT_S = 1.5
MOST_PANELS = 120
_ANY = Span(3_600_000, 3_600_000)
"""For questions that do not depend on time."""


class Live:
    """The page of one store. `read` asks it; `host` is what is listened on; `tag`: the language whatever the browser
    likes; `token`: what a browser must show, empty: nothing."""

    def __init__(
        self, catalogue: Catalogue, read: Read, *, host: str = "127.0.0.1", tag: str = "", token: str = ""
    ) -> None:
        self._shelf = Shelf(catalogue)
        self._assets = Assets()
        self._pulse = Pulse(read)
        self._asker = Asker(read, self._pulse)
        self._panels = Panels(self._shelf, self._asker)
        self._host, self._tag, self._token = host, tag, token

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[guard(self._host, self._token)])
        app.router.add_get("/", self._root)
        app.router.add_get("/d/{uid}", self._board)
        app.router.add_get("/api/d/{uid}", self._answers)
        app.router.add_get("/static/{name:.+}", self._assets.serve)
        app.router.add_get("/healthz", self._healthz)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _root(self, request: web.Request) -> web.Response:
        tag = self._tag or tag_for(request.headers.get("Accept-Language", ""))
        raise web.HTTPFound(f"/d/{self._shelf.first(tag)}")

    async def _board(self, request: web.Request) -> web.Response:
        shelved = self._shelved(request)
        options, _ = await asyncio.gather(self._options(shelved), self._pulse.feel(PAGE_WAIT_S))
        view = self._view(request, shelved, options)
        labels = {name: dict(some) for name, some in options.items()}
        sections = laid_out(shelved.board, view.chosen, labels)
        page = Page(
            self._shelf, shelved, view, sections, options, self._assets, self._pulse.oldest_ms, self._pulse.newest_ms
        )
        headers = {"Cache-Control": "no-store"}
        return web.Response(text=page.html(), content_type="text/html", charset="utf-8", headers=headers)

    async def _answers(self, request: web.Request) -> web.Response:
        shelved = self._shelved(request)
        options, _ = await asyncio.gather(self._options(shelved), self._pulse.feel(ANSWER_WAIT_S))
        view = self._view(request, shelved, options)
        wanted = [Wanted.read(text) for text in request.query.getall("p", [])[:MOST_PANELS]]
        ready = self._pulse.newest_ms > 0
        panels, opened = b"{}", None
        if ready:
            panels, opened = await asyncio.gather(
                self._panels.told(shelved, view, wanted, ANSWER_WAIT_S), self._open_alerts(shelved)
            )
        to_ms = self._pulse.newest_ms if view.span.to_ms is None else view.span.to_ms
        head = {
            "oldest": self._pulse.oldest_ms,
            "newest": self._pulse.newest_ms,
            "still_s": round(self._pulse.still_s),
            "from": to_ms - view.span.length_ms,
            "to": to_ms,
            "open": opened,
            "trouble": self._pulse.trouble or self._asker.trouble,
            "ready": ready,
            "panels": orjson.Fragment(panels),
        }
        headers = {"Cache-Control": "no-store"}
        answer = web.Response(body=orjson.dumps(head), content_type="application/json", headers=headers)
        if request.remote not in ("127.0.0.1", "::1"):
            answer.enable_compression()
        return answer

    def _shelved(self, request: web.Request) -> Shelved:
        found = self._shelf.find(request.match_info["uid"])
        if found is None:
            raise web.HTTPNotFound(text="no such board\n")
        return found

    def _view(self, request: web.Request, shelved: Shelved, options: Mapping[str, Sequence[Choice]]) -> View:
        try:
            chosen = chosen_of(request.query, shelved.board, options)
            return View(chosen, span_of(request.query, shelved.board.span))
        except BadAddress as wrong:
            raise web.HTTPBadRequest(text=f"{wrong}\n") from None

    async def _options(self, shelved: Shelved) -> dict[str, Sequence[Choice]]:
        """What can be chosen; empty where the store has to say it and does not."""
        found: dict[str, Sequence[Choice]] = {}
        for variable in shelved.board.variables:
            if not variable.sql:
                found[variable.name] = variable.choices
                continue
            asked = question(variable.sql, {}, _ANY)
            answer = (await self._asker.answers([asked], PAGE_WAIT_S))[asked]
            rows = answer.rows if answer else []
            found[variable.name] = [(str(row["value"]), str(row["label"])) for row in rows]
        return found

    async def _open_alerts(self, shelved: Shelved) -> int | None:
        """How many alerts are open now, whatever time is shown."""
        asked = question(alerting.firing(shelved.tongue).sql, {}, Span(3_600_000))
        answer = (await self._asker.answers([asked], ANSWER_WAIT_S))[asked]
        return len(answer.rows) if answer and not answer.error else None
