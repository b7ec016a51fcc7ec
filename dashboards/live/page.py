"""The page of a board as HTML: everything that is known before the store has said a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from dashboards import words
from dashboards.live.address import ALL, Choice, View
from dashboards.live.assets import Assets
from dashboards.live.cells import filled
from dashboards.live.layout import Laid, Placed
from dashboards.live.markup import Html, data, joined, markdown, tag
from dashboards.live.shelf import Shelf, Shelved
from dashboards.model import Kind, Tongue, Variable

UNIT_PX = 36
"""One unit of a panel's height."""
SPANS = (("15m", 900_000), ("1h", 3_600_000), ("3h", 10_800_000), ("6h", 21_600_000), ("24h", 86_400_000),
         ("2d", 172_800_000), ("7d", 604_800_000), ("30d", 2_592_000_000))  # fmt: skip
NAMES = {"en": "English", "zh": "简体中文", "zh-hant": "繁體中文", "pt": "Português"}
_LANG = {"en": "en", "zh": "zh-Hans", "zh-hant": "zh-Hant", "pt": "pt"}
_SCRIPT_WORDS = {
    "live": words.LIVE, "newest": words.NEWEST_TIME, "past": words.THEN, "away": words.STORE_AWAY,
    "slow": words.STORE_SLOW, "empty": words.STORE_EMPTY, "lost": words.PAGE_AWAY, "alerts": words.FIRING_COUNT,
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What a page is made of. `options`: by variable what can be chosen; `oldest_ms`, `newest_ms`: what the store
    knows of, 0 if it has not said."""

    shelf: Shelf
    shelved: Shelved
    view: View
    sections: Sequence[Laid]
    options: Mapping[str, Sequence[Choice]]
    assets: Assets
    oldest_ms: int = 0
    newest_ms: int = 0

    @property
    def tongue(self) -> Tongue:
        """Its language."""
        return self.shelved.tongue

    def html(self) -> str:
        """All of it."""
        title = self.shelved.board.title.removeprefix("Pearlstream: ")
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{title} · Pearlstream"),
            tag("link", rel="icon", href=self.assets.address("pearl.svg")),
            tag("link", rel="stylesheet", href=self.assets.address("live.css")),
            tag("script", src=self.assets.address("theme.js")),
            tag("script", src=self.assets.address("vendor/echarts.min.js"), defer=True),
            tag("script", src=self.assets.address("live.js"), type="module"),
        )
        body = tag(
            "body",
            self._top(),
            self._time(),
            tag("div", role="status", id="trouble", hidden=True),
            tag("div", tag("h1", title), self._variables(), class_="board-head"),
            tag("main", *(self._section(laid) for laid in self.sections)),
            self._footer(),
            data("page", orjson.dumps(self._for_script())),
        )
        return f"<!doctype html>{tag('html', head, body, lang=_LANG[self.tongue.tag])}"

    # ---------------------------------------------------------------- the bars above

    def _top(self) -> Html:
        here = f"/d/{self.shelved.board.uid}"
        links = [
            tag("a", title, href=address, aria_current="page" if address == here else None)
            for title, address in self.shelved.board.links
        ]
        languages = [
            tag("option", NAMES[name], value=uid, selected=uid == self.shelved.board.uid)
            for name, uid in self.shelf.siblings(self.shelved)
        ]
        alerts = f"/d/pearlstream-alerts-{self.tongue.tag}"
        return tag(
            "header",
            tag("a", tag("span", class_="pearl"), "Pearlstream", class_="brand", href="/"),
            tag("nav", *links, aria_label=self.tongue(words.BOARDS)),
            tag("a", "–", id="open-alerts", href=alerts, title=self.tongue(words.FIRING_COUNT)),
            tag("select", *languages, id="language", aria_label=self.tongue(words.LANGUAGE)),
            tag("button", "◐", id="theme", type="button", title=self.tongue(words.LIGHT_OR_DARK)),
        )

    def _time(self) -> Html:
        said = self.tongue
        spans = [*SPANS]
        if all(length != self.view.span.length_ms for _, length in spans):
            spans.append((f"{self.view.span.length_ms / 3_600_000:g}h", self.view.span.length_ms))
        options = [
            tag("option", name, value=length, selected=length == self.view.span.length_ms) for name, length in spans
        ]
        return tag(
            "div",
            tag("button", tag("i"), tag("span", said(words.LIVE)), id="live", type="button"),
            tag("output", "–", id="clock"),
            tag("button", "‹", id="earlier", type="button", title=said(words.EARLIER)),
            tag("input", type="range", id="slider", disabled=True, aria_label=said(words.MOMENT)),
            tag("button", "›", id="later", type="button", title=said(words.LATER)),
            tag("select", *options, id="span", title=said(words.SHOWN_TIME), aria_label=said(words.SHOWN_TIME)),
            class_="time",
        )

    def _variables(self) -> Html:
        variables = self.shelved.board.variables
        if not variables:
            return joined()
        return tag("form", *map(self._variable, variables), id="variables", method="get")

    def _variable(self, variable: Variable) -> Html:
        name, chosen = f"var-{variable.name}", self.view.chosen[variable.name]
        if variable.typed:
            return tag(
                "label",
                tag("span", variable.label),
                tag("input", name=name, value=chosen[0], maxlength=64, type="text"),
            )
        options = self.options.get(variable.name, ())
        if not variable.many:
            made = [tag("option", label, value=value, selected=value in chosen) for value, label in options]
            return tag("label", tag("span", variable.label), tag("select", *made, name=name))
        return self._many(variable, name, chosen, options)

    def _many(self, variable: Variable, name: str, chosen: Sequence[str], options: Sequence[Choice]) -> Html:
        every = len(chosen) == len(options)
        labels = dict(options)
        summary = self.tongue(words.ALL) if every else ", ".join(labels.get(value, value) for value in chosen[:3])
        if not every and len(chosen) > 3:
            summary += f" +{len(chosen) - 3}"
        boxes = [
            tag("label", tag("input", type="checkbox", name=name, value=value, checked=value in chosen), label)
            for value, label in options
        ]
        whole = tag(
            "label", tag("input", type="checkbox", value=ALL, name=name, checked=every, class_="all"),
            self.tongue(words.ALL),
        )  # fmt: skip
        return tag(
            "details",
            tag("summary", tag("span", variable.label), tag("b", summary)),
            tag("div", whole, *boxes, tag("button", self.tongue(words.SHOW), type="submit"), class_="choices"),
            class_="many",
        )

    def _footer(self) -> Html:
        """What the data are, unless a panel says it."""
        text = self.tongue(words.SIMULATED_TEXT)
        said = any(panel.text == text for panel in self.shelved.board.panels)
        return joined() if said else tag("footer", markdown(text))

    # ---------------------------------------------------------------- panels

    def _section(self, laid: Laid) -> Html:
        grid = tag("div", *map(self._panel, laid.panels), class_="grid")
        if not laid.title:
            return tag("section", grid)
        return tag("details", tag("summary", tag("h2", laid.title)), grid, class_="section", open=not laid.folded)

    def _panel(self, placed: Placed) -> Html:
        panel = placed.panel
        asked = panel.kind is not Kind.TEXT and panel.queries[0].of == "clickhouse"
        units = panel.height if asked or panel.kind is Kind.TEXT else 2
        style = f"--w:{panel.width};--h:{units * UNIT_PX}px"
        return tag(
            "article",
            tag("h3", tag("span", panel.title), *self._links(placed), self._about(placed)),
            tag("div", self._inside(placed, asked=asked), class_="body"),
            class_=f"panel {panel.kind.value}" + ("" if asked else " still"),
            style=style,
            data_key=placed.key if asked else None,
        )

    def _inside(self, placed: Placed, *, asked: bool) -> Html:
        if placed.panel.kind is Kind.TEXT:
            return markdown(placed.panel.text)
        return tag("p", self.tongue(words.LOADING if asked else words.NEEDS_PROMETHEUS), class_="said")

    def _links(self, placed: Placed) -> Sequence[Html]:
        return [tag("a", "↗", href=filled(address, {}), title=title) for title, address in placed.panel.links]

    def _about(self, placed: Placed) -> Html:
        if not placed.panel.description:
            return joined()
        return tag(
            "details",
            tag("summary", "i", aria_label="?"),
            tag("div", markdown(placed.panel.description)),
            class_="about",
        )

    def _for_script(self) -> dict[str, object]:
        return {
            "uid": self.shelved.board.uid,
            "lang": _LANG[self.tongue.tag],
            "span": self.view.span.length_ms,
            "to": self.view.span.to_ms,
            "offset": self.shelf.offset_ms,
            "oldest": self.oldest_ms,
            "newest": self.newest_ms,
            "words": {name: self.tongue(word) for name, word in _SCRIPT_WORDS.items()},
        }
