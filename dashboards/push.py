"""Boards, data sources and alert rules in a Grafana: what is there, what would change, and the change.

Needs a service account that may write dashboards, folders, data sources and alert rules, and nothing else. Everything
goes by uid; Grafana's tree of notification policies, which has one owner, is left alone.
Grafana migrates what it is given (it reads back differently), so a board is known by the message of its newest
version, which holds a hash of what was sent: whoever edits it by hand makes a version with another message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from dashboards.boards.common import FOLDER_UID
from dashboards.grafana import CLICKHOUSE, PROMETHEUS
from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Grafana, Settings

FOLDER_TITLE = "Pearlstream"
TIMEOUT_S = 30.0
HIDDEN = "[REDACTED]"
"""Stands where Grafana keeps a secret to itself."""
Json = dict[str, Any]


class Change(NamedTuple):
    """One thing that is or would be done. `differs`: keys that are not as wanted."""

    what: Literal["folder", "data source", "board", "contact point", "alert rule"]
    name: str
    action: Literal["create", "update", "none"]
    differs: Sequence[str] = ()


class Wanted(NamedTuple):
    """What a Grafana is to hold. Without Prometheus there are no rules."""

    sources: Sequence[Json] = ()
    boards: Sequence[Json] = ()
    contacts: Sequence[Json] = ()
    rules: Sequence[Json] = ()


class Api(Protocol):
    """What of grafana-client is used."""

    folder: Any
    datasource: Any
    dashboard: Any
    dashboard_versions: Any
    alertingprovisioning: Any


def connect(settings: Grafana) -> Api:
    """A client. Raises SettingsError if address or token are missing."""
    if urlsplit(settings.url).scheme not in ("http", "https"):
        raise SettingsError(
            "setting PEARLSTREAM_GRAFANA__URL is no address", remedy="write it like http://127.0.0.1:3000"
        )
    token = settings.token.get_secret_value()
    if not token:
        raise SettingsError(
            "setting PEARLSTREAM_GRAFANA__TOKEN is empty",
            remedy="make a service account with the role Editor plus `datasources:create` and `datasources:write`",
        )
    api: Api = GrafanaApi.from_url(settings.url, credential=token, timeout=TIMEOUT_S)
    return api


@dataclass
class Push:
    """One push. `dry_run`: look and say, write nothing."""

    api: Api
    dry_run: bool = False

    def run(self, wanted: Wanted) -> Iterator[Change]:
        """Bring Grafana to what is wanted; one change after the other. Raises ServiceError."""
        yield self._guarded(self._folder)
        for source in wanted.sources:
            yield self._guarded(self._source, source)
        for board in wanted.boards:
            yield self._guarded(self._board, board)
        if wanted.contacts:
            there = self._tried(self.api.alertingprovisioning.get_contactpoints)
            for contact in wanted.contacts:
                yield self._guarded(self._contact, contact, {one["uid"]: one for one in there})
        for rule in wanted.rules:
            yield self._guarded(self._rule, rule)

    def _guarded(self, step: Callable[..., Change], *arguments: Any) -> Change:
        change: Change = self._tried(step, *arguments)
        return change

    @staticmethod
    def _tried(step: Callable[..., Any], *arguments: Any) -> Any:
        """What a step brings; what Grafana has against it as an error of ours."""
        try:
            return step(*arguments)
        except GrafanaException as error:
            remedy = "check the rights of its service account" if error.status_code in (401, 403) else "look at its log"
            raise ServiceError(f"Grafana said no: {error.message}", remedy=remedy) from None
        except OSError as error:
            raise ServiceError(f"Grafana cannot be reached: {error}", remedy="check PEARLSTREAM_GRAFANA__URL") from None

    def _folder(self) -> Change:
        found = _or_none(lambda: self.api.folder.get_folder(FOLDER_UID))
        if found is None:
            if not self.dry_run:
                self.api.folder.create_folder(FOLDER_TITLE, uid=FOLDER_UID)
            return Change("folder", FOLDER_TITLE, "create")
        return Change("folder", FOLDER_TITLE, "none")

    def _source(self, wanted: Json) -> Change:
        found = _or_none(lambda: self.api.datasource.get_datasource_by_uid(wanted["uid"]))
        if found is None:
            if not self.dry_run:
                self.api.datasource.create_datasource(wanted)
            return Change("data source", wanted["name"], "create")
        differs = list(_differs(wanted, found))
        if differs and not self.dry_run:
            self.api.datasource.update_datasource_by_uid(wanted["uid"], wanted)
        return Change("data source", wanted["name"], "update" if differs else "none", differs)

    def _board(self, wanted: Json) -> Change:
        said = message(wanted)
        found = _or_none(lambda: self.api.dashboard.get_dashboard(wanted["uid"]))
        if found is not None and found["meta"].get("folderUid") == FOLDER_UID and said == self._newest(wanted["uid"]):
            return Change("board", wanted["uid"], "none")
        if not self.dry_run:
            body = {"dashboard": wanted, "folderUid": FOLDER_UID, "overwrite": True, "message": said}
            self.api.dashboard.update_dashboard(body)
        if found is None:
            return Change("board", wanted["uid"], "create")
        return Change("board", wanted["uid"], "update", sorted(_differs(wanted, found["dashboard"])))

    def _contact(self, wanted: Json, there: Mapping[str, Json]) -> Change:
        name = f"{wanted['name']} ({wanted['type']})"
        found = there.get(wanted["uid"])
        if found is None:
            if not self.dry_run:
                self.api.alertingprovisioning.create_contactpoint(wanted)
            return Change("contact point", name, "create")
        differs = list(_differs(wanted, found))
        if differs and not self.dry_run:
            self.api.alertingprovisioning.update_contactpoint(wanted["uid"], wanted)
        return Change("contact point", name, "update" if differs else "none", differs)

    def _rule(self, wanted: Json) -> Change:
        found = _or_none(lambda: self.api.alertingprovisioning.get_alertrule(wanted["uid"]))
        if found is None:
            if not self.dry_run:
                self.api.alertingprovisioning.create_alertrule(wanted)
            return Change("alert rule", wanted["title"], "create")
        differs = list(_differs(wanted, found))
        if differs and not self.dry_run:
            self.api.alertingprovisioning.update_alertrule(wanted["uid"], wanted)
        return Change("alert rule", wanted["title"], "update" if differs else "none", differs)

    def _newest(self, uid: str) -> str:
        """The message of a board's newest version."""
        said = self.api.dashboard_versions.get_dashboard_versions_by_uid(uid)
        # a list up to Grafana 11, an object with `versions` since
        versions = said["versions"] if isinstance(said, Mapping) else said
        newest = max(versions, key=lambda one: int(one["version"]), default=None)
        return str(newest.get("message", "")) if newest is not None else ""


def message(board: Json) -> str:
    """What a version of a board is called: the same for the same board."""
    content = orjson.dumps(board, option=orjson.OPT_SORT_KEYS)
    return f"pearlstream {hashlib.sha256(content).hexdigest()[:16]}"


def _or_none(get: Any) -> Any:
    """What is there, None if nothing is."""
    try:
        return get()
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise


def _differs(wanted: Mapping[str, Any], found: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Keys in which `found` is not as wanted; more keys than wanted, and secrets that it has, are fine."""
    for key, value in wanted.items():
        name = f"{path}{key}"
        if key in ("id", "version"):
            continue
        if key == "secureJsonData":
            fields = found.get("secureJsonFields") or {}
            yield from (f"secureJsonData.{secret}" for secret in value if not fields.get(secret))
        elif found.get(key) == HIDDEN:
            continue  # nobody can tell; Grafana keeps what it was given
        elif isinstance(value, Mapping):
            other = found.get(key)
            yield from _differs(value, other if isinstance(other, Mapping) else {}, f"{name}.")
        elif isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
            others = found.get(key)
            if not isinstance(others, list) or len(others) != len(value):
                yield name
                continue
            for place, (one, other) in enumerate(zip(value, others, strict=True)):
                yield from _differs(one, other, f"{name}.{place}.")
        elif value != found.get(key):
            yield name


def sources(settings: Settings) -> list[Json]:
    """The data sources that the boards ask: ClickHouse, and Prometheus if there is one.

    Raises SettingsError if the store has no address that Grafana could use.
    """
    grafana, ours = settings.grafana, settings.clickhouse
    url = urlsplit(grafana.clickhouse_url or ours.url)
    if not url.hostname:
        raise SettingsError(
            "the store has no address",
            remedy="set PEARLSTREAM_GRAFANA__CLICKHOUSE_URL to where Grafana reaches ClickHouse",
        )
    secure = url.scheme == "https"
    clickhouse: Json = {
        **CLICKHOUSE,
        "name": "Pearlstream ClickHouse",
        "access": "proxy",
        "jsonData": {
            "host": url.hostname,
            "port": url.port or (8443 if secure else 8123),
            "protocol": "http",
            "secure": secure,
            "username": grafana.clickhouse_user or ours.user,
            "defaultDatabase": ours.database,
            "dialTimeout": "10",
            "queryTimeout": "60",
            "validateSql": True,
        },
    }
    secret = grafana.clickhouse_password.get_secret_value() or ours.password.get_secret_value()
    if secret:
        clickhouse["secureJsonData"] = {"password": secret}
    if not grafana.prometheus_url:
        return [clickhouse]
    prometheus = {
        **PROMETHEUS,
        "name": "Pearlstream Prometheus",
        "access": "proxy",
        "url": grafana.prometheus_url,
        "jsonData": {"httpMethod": "POST"},
    }
    return [clickhouse, prometheus]
