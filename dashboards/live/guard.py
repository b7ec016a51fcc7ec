"""Who may ask, and what a browser may do with the answer.

A page on the loopback address can be asked by any site that the same browser has open, if that site points a name of
its own at 127.0.0.1. So the name that was asked for must be one of ours.
"""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pearlstream.errors import SettingsError

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""Of every answer. Styles are set inside the page by the charts; scripts come from our files only."""
COOKIE = "pearlstream_live"
_OPEN = ("/healthz",)


def is_loopback(host: str) -> bool:
    """Whether a host to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, token: str) -> None:
    """Raises SettingsError if the page would be open to others without a token."""
    if not is_loopback(host) and not token:
        raise SettingsError(
            f"{host} can be reached by others, and the page asks nobody who they are",
            remedy="set PEARLSTREAM_LIVE__TOKEN to a secret of 16 characters or more, which the first address must have"
            " as ?token=...",
        )


def guard(host: str, token: str) -> Middleware:
    """The middleware that turns strangers away and sets the headers."""
    ours = {"127.0.0.1", "localhost", "[::1]", host} if is_loopback(host) else None

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if ours is not None and _name(request.host) not in ours:
            raise web.HTTPForbidden(text="asked for by a name that is not ours\n")
        if token and request.path not in _OPEN and not _known(request, token):
            given = request.query.get("token", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                raise web.HTTPUnauthorized(text="open this page with ?token=...\n")
            answer = web.HTTPFound("/")
            answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            raise answer
        try:
            answered = await handler(request)
        except web.HTTPException as refused:
            refused.headers.update(HEADERS)
            raise
        answered.headers.update(HEADERS)
        return answered

    return guarded


def _known(request: web.Request, token: str) -> bool:
    return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), token.encode())


def _name(host: str) -> str:
    """The host of `host:port`; an IPv6 one keeps its brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
