"""The files of the page: all of them lie in this package, none comes from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"


class Asset:
    """A file, read once."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(FOLDER).as_posix()
        self.type = _TYPES[path.suffix]
        self.body = path.read_bytes()

    @cached_property
    def packed(self) -> bytes:
        """The file, compressed, for browsers that are not on this machine."""
        return gzip.compress(self.body, 6)


class Assets:
    """All files. Their addresses change with their content, so that a browser may keep them for ever, and they lie
    side by side, so that scripts find each other."""

    def __init__(self) -> None:
        assets = [Asset(path) for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES]
        digest = hashlib.sha256(b"".join(asset.body for asset in assets)).hexdigest()[:12]
        self._root = f"/static/{digest}/"
        self._by_address = {self._root + asset.name: asset for asset in assets}

    def address(self, name: str) -> str:
        """Where a file is found."""
        return self._root + name

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a file."""
        asset = self._by_address.get(request.path)
        if asset is None:
            raise web.HTTPNotFound(text="no such file\n")
        headers = {"Cache-Control": _FOREVER, "Content-Type": f"{asset.type}; charset=utf-8"}
        far = request.remote not in ("127.0.0.1", "::1")
        if far and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=asset.packed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=asset.body, headers=headers)
