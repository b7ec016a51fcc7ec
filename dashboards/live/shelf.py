"""All boards in all languages, by uid; those of a language are made when the first of them is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dashboards.build import boards
from dashboards.live.look import offset_of, places_of
from dashboards.model import TONGUES, Board, Tongue
from pearlstream.catalogue import Catalogue

TAGS = tuple(tongue.tag for tongue in TONGUES)


class Shelved(NamedTuple):
    """A board with its language, and what all boards of that language share."""

    board: Board
    tongue: Tongue
    places: Mapping[str, int]


class Shelf:
    """The boards of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.offset_ms = offset_of(catalogue)
        self._by_tag: dict[str, dict[str, Shelved]] = {}

    def find(self, uid: str) -> Shelved | None:
        """The board with this uid."""
        tag = next((tag for tag in sorted(TAGS, key=len, reverse=True) if uid.endswith(f"-{tag}")), None)
        return self._of(tag).get(uid) if tag else None

    def first(self, tag: str) -> str:
        """The uid of the board that everybody sees first. Raises KeyError if there is no such language."""
        return next(iter(self._of(tag)))

    def siblings(self, shelved: Shelved) -> list[tuple[str, str]]:
        """Tag and uid of the same board in every language."""
        name = shelved.board.uid.removesuffix(f"-{shelved.tongue.tag}")
        return [(tag, f"{name}-{tag}") for tag in TAGS]

    def _of(self, tag: str) -> dict[str, Shelved]:
        if tag not in self._by_tag:
            tongue = next((one for one in TONGUES if one.tag == tag), None)
            if tongue is None:
                raise KeyError(tag)
            places = places_of(self.catalogue, tongue)
            self._by_tag[tag] = {board.uid: Shelved(board, tongue, places) for board in boards(self.catalogue, tongue)}
        return self._by_tag[tag]


def tag_for(accepted: str) -> str:
    """The tag of the language that a browser likes best (`Accept-Language`), English if we have none of its."""
    wanted = []
    for part in accepted.lower().split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or 1), name))
        except ValueError:
            continue
    for _, name in sorted(wanted):
        if name.startswith("zh"):
            return "zh-hant" if any(part in name for part in ("hant", "tw", "hk", "mo")) else "zh"
        found = next((tag for tag in TAGS if name.split("-")[0] == tag), None)
        if found:
            return found
    return "en"
