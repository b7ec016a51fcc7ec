"""Seals: how a reader tells the ticks of whoever drives time from those of a stranger."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pearlstream.frame.headers import Tick

CLOCK_MAC = "clock-mac"
"""The header of a tick that holds its seal."""


@dataclass(frozen=True)
class Seal:
    """Whoever writes a tick owns time: all that comes after it is late, for ever. So a tick may carry a seal, an
    HMAC-SHA256 (RFC 2104) over everything it says and over `scope`, the prefix of the topics, so that a tick of one
    pipeline is none in another. A tick that is sent again does no harm: readers ignore a clock that does not rise.

    `keys`: the first one seals, all of them are believed, so that a key can be changed without a stop. None: ticks are
    not sealed, and any is believed.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    scope: str = ""

    def of(self, tick: Tick) -> bytes:
        """The seal for a tick, as hexadecimal digits. There must be a key."""
        return self._mac(self.keys[0], tick).encode()

    def holds(self, tick: Tick, mac: str) -> bool:
        """Whether a tick is one of ours."""
        given = mac.encode("ascii", "replace")
        return not self.keys or any(hmac.compare_digest(self._mac(key, tick).encode(), given) for key in self.keys)

    def _mac(self, key: bytes, tick: Tick) -> str:
        said = "\n".join((self.scope, str(tick.clock_ms), tick.driver, tick.registry, str(int(tick.sim))))
        return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


UNSEALED = Seal()
"""Where no key is known."""
