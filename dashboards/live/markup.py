"""HTML that is safe by the way it is made: whatever is put into a tag is escaped, unless it is a tag itself."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from markdown_it import MarkdownIt

_EMPTY = frozenset({"meta", "link", "input", "br"})


class Html(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def tag(name: str, /, *inside: str | Html, **attributes: str | bool | int | None) -> Html:
    """An element. Attributes: `_` at the end is dropped (`class_`), others become `-`; True: no value, False and None:
    left out."""
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{joined(*inside)}</{name}>")


def joined(*parts: str | Html) -> Html:
    """One after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def data(identity: str, json: bytes) -> Html:
    """JSON for the page's own script. A `<` in it could end the element, so there is none."""
    text = json.decode().replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{escape(identity)}">{text}</script>')


@lru_cache(maxsize=2000)
def markdown(text: str) -> Html:
    """Markdown without HTML in it."""
    return Html(_MARKDOWN.render(text))


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).disable("image")
