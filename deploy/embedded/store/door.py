"""Who may come in: the right password, from a program, to an address that is ours."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from aiohttp import web

from deploy.embedded.store.faults import AUTHENTICATION_FAILED, StoreError

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Door:
    """Checks each request. Only the hash of the password is kept."""

    def __init__(self, user: str, password: str, hosts: Iterable[str]) -> None:
        """`hosts` are further names, without port, by which clients may call us (beside the loopback's)."""
        self._user = user.encode()
        self._hash = hashlib.sha256(password.encode()).digest()
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts}

    def check_address(self, request: web.Request) -> None:
        """Refuse what a web page may have caused: a foreign Host (rebinding), or any Origin.

        Raises StoreError.
        """
        host = request.headers.get("Host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in self._hosts:
            raise _refused(f"the host name {host[:80]!r} is not ours")
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            raise _refused("web pages are not served")

    def check_password(self, request: web.Request) -> None:
        """Raises StoreError unless the request carries our user and password."""
        given = _credentials(request)
        if given is None:
            raise StoreError.of_ours(
                AUTHENTICATION_FAILED, "a user and a password are needed (Basic, or X-ClickHouse-User/-Key)", status=401
            )
        user, password = given
        known = hmac.compare_digest(user, self._user)
        # Both are compared whatever the first says: how long it takes tells nothing.
        right = hmac.compare_digest(hashlib.sha256(password).digest(), self._hash)
        if not (known and right):
            raise _refused("wrong user or password")


def _credentials(request: web.Request) -> tuple[bytes, bytes] | None:
    user = request.headers.get("X-ClickHouse-User")
    if user is not None:
        return user.encode(), request.headers.get("X-ClickHouse-Key", "").encode()
    scheme, _, packed = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(packed, validate=True).partition(b":")
    except binascii.Error:
        return None
    return name, password


def _refused(why: str) -> StoreError:
    return StoreError.of_ours(AUTHENTICATION_FAILED, why)
