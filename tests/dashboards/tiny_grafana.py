"""A server that behaves like Grafana towards `dashboards push`.

It knows folders, data sources, dashboards with versions, contact points and alert rules.
Grafana itself cannot be run here. Like it, this one adds fields to what it is given, counts versions, keeps
secrets to itself, answers 404 to what is not there, and refuses who has no token.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

TOKEN = "glsa_tiny"
Json = dict[str, Any]


class Asked(NamedTuple):
    """One request: method, path without `/api`, body."""

    method: str
    path: str
    body: Json | None


@dataclass
class TinyGrafana:
    """What the server holds, and everything that it was asked."""

    folders: dict[str, Json] = field(default_factory=dict)
    sources: dict[str, Json] = field(default_factory=dict)
    boards: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, list[Json]] = field(default_factory=dict)
    contacts: dict[str, Json] = field(default_factory=dict)
    rules: dict[str, Json] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Status and body."""
        self.asked.append(asked)
        parts = asked.path.strip("/").split("/")
        match (asked.method, *parts):
            case ("GET", "folders", uid):
                return self._found(self.folders, uid)
            case ("POST", "folders"):
                return 200, self._kept(self.folders, asked.body)
            case ("GET", "datasources", "uid", uid):
                return self._found(self.sources, uid)
            case ("POST", "datasources") | ("PUT", "datasources", "uid", _):
                return 200, self._kept(self.sources, hidden(asked.body))
            case ("GET", "dashboards", "uid", uid):
                return self._found(self.boards, uid)
            case ("GET", "dashboards", "uid", uid, "versions"):
                return 200, {"continueToken": "", "versions": self.versions.get(uid, [])[::-1]}
            case ("POST", "dashboards", "db"):
                return 200, self.save(asked.body or {})
            case ("GET", "v1", "provisioning", "contact-points"):
                return 200, [{**one, "provenance": "api"} for one in self.contacts.values()]
            case ("POST", "v1", "provisioning", "contact-points") | ("PUT", "v1", "provisioning", "contact-points", _):
                return 202, self._kept(self.contacts, asked.body)
            case ("GET", "v1", "provisioning", "alert-rules", uid):
                return self._found(self.rules, uid)
            case ("POST", "v1", "provisioning", "alert-rules") | ("PUT", "v1", "provisioning", "alert-rules", _):
                return self._rule(asked.body or {})
        return 404, {"message": f"no such route: {asked.path}"}

    def save(self, body: Json) -> Json:
        """Keep a new version of a board."""
        board = dict(body["dashboard"])
        own = self.versions.setdefault(board["uid"], [])
        number = len(own) + 1
        own.append({"version": number, "message": body.get("message", ""), "uid": board["uid"]})
        migrated = {**board, "id": 17, "version": number, "fiscalYearStartMonth": 0}
        self.boards[board["uid"]] = {"dashboard": migrated, "meta": {"folderUid": body.get("folderUid", "")}}
        return {"uid": board["uid"], "status": "success", "version": number}

    def _rule(self, body: Json) -> tuple[int, Any]:
        """Keep an alert rule; a folder and a contact point that are not there are refused."""
        receiver = body.get("notification_settings", {}).get("receiver")
        if body["folderUID"] not in self.folders or (
            receiver and receiver not in {one["name"] for one in self.contacts.values()}
        ):
            return 400, {"message": "folder or receiver does not exist"}
        added = {"intervalMs": 1000, "maxDataPoints": 43200}
        steps = [{**step, "model": {**added, **step["model"]}} for step in body["data"]]
        self.rules[body["uid"]] = {**body, "id": 7, "data": steps, "provenance": "api"}
        return 201, self.rules[body["uid"]]

    @staticmethod
    def _found(kept: dict[str, Json], uid: str) -> tuple[int, Any]:
        return (200, kept[uid]) if uid in kept else (404, {"message": "not found"})

    @staticmethod
    def _kept(kept: dict[str, Json], body: Json | None) -> Json:
        assert body is not None
        kept[body["uid"]] = {**body, "id": len(kept) + 1, "readOnly": False}
        return kept[body["uid"]]


def hidden(source: Json | None) -> Json:
    """A data source as Grafana gives it back: of secrets only that they are there."""
    assert source is not None
    secrets = source.get("secureJsonData", {})
    return {key: value for key, value in source.items() if key != "secureJsonData"} | {
        "secureJsonFields": dict.fromkeys(secrets, True)
    }


def serve(grafana: TinyGrafana) -> tuple[str, Callable[[], None]]:
    """Start the server on a free port of this machine: its address, and how to stop it."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, {"message": "invalid API key"}
            else:
                status, answer = grafana.answer(Asked(self.command, self.path.removeprefix("/api"), body))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _do

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return f"http://127.0.0.1:{server.server_port}", stop
