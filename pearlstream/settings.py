"""Settings: the page that names every one of them, from the environment and a TOML file.

Names: prefix `PEARLSTREAM_`, nested with `__` (`PEARLSTREAM_KAFKA__PREFIX`). The TOML file
(`pearlstream.toml` in the working folder, or the path in `PEARLSTREAM_SETTINGS`) has the same keys in
tables; the environment wins. Between the two stand secrets as files: in the folder that
`PEARLSTREAM_SECRETS_DIR` names, each file is called like its variable and holds the value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from pearlstream.errors import SettingsError
from pearlstream.seal import Seal

SHORTEST_KEY = 16
"""Characters of a key that seals ticks, and of a token, at the least."""


class Kafka(BaseModel):
    """The broker."""

    model_config = {"extra": "forbid"}
    bootstrap_servers: str = Field("", description="host:port,...; empty: start the embedded broker")
    prefix: str = Field("pearl.", description="put before every topic and group name", pattern=r"^[a-z0-9._-]{0,40}$")
    partitions: int = Field(6, description="partitions of every partitioned topic", ge=1, le=512)
    clock_key: SecretStr = Field(
        SecretStr(""),
        description="seals ticks; a worker that has it believes no others. 16 characters or more; while it is "
        "changed several, separated by commas: the first one seals, all are believed",
    )

    @field_validator("clock_key")
    @classmethod
    def _long_enough(cls, given: SecretStr) -> SecretStr:
        keys = given.get_secret_value().split(",") if given.get_secret_value() else []
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise ValueError(f"a key has fewer than {SHORTEST_KEY} characters")
        return given

    @property
    def seal(self) -> Seal:
        """Whose ticks are believed."""
        keys = self.clock_key.get_secret_value()
        return Seal(tuple(key.encode() for key in keys.split(",")) if keys else (), self.prefix)


class ClickHouse(BaseModel):
    """The store."""

    model_config = {"extra": "forbid"}
    url: str = Field("", description="http(s)://host:port; empty: start the embedded store")
    user: str = Field("default", description="user name")
    password: SecretStr = Field(SecretStr(""), description="password")
    database: str = Field("pearlstream", description="database", pattern=r"^[a-z][a-z0-9_]{0,62}$")


class CatalogueSettings(BaseModel):
    """The catalogue."""

    model_config = {"extra": "forbid"}
    overlays: list[Path] = Field(default_factory=list, description="folders laid over the shipped catalogue, in order")


class Embedded(BaseModel):
    """The embedded broker and store."""

    model_config = {"extra": "forbid"}
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("pearlstream"), description="folder of the store, logs and run files"
    )
    broker_port: int = Field(0, description="0: any free port", ge=0, le=65_535)
    store_port: int = Field(0, description="0: any free port", ge=0, le=65_535)


class Worker(BaseModel):
    """Stream processors."""

    model_config = {"extra": "forbid"}
    snapshot_mb: float = Field(64, description="megabytes read between snapshots of a partition", gt=0)
    snapshot_frames: int = Field(2000, description="records read between snapshots of a partition", ge=1)
    health_port: int = Field(0, description="port of /healthz, /readyz and /metrics; 0: any free port")
    health_host: str = Field("127.0.0.1", description="address that these listen on; they ask for no password")


class Sink(BaseModel):
    """ClickHouse writer."""

    model_config = {"extra": "forbid"}
    flush_s: float = Field(1.0, description="seconds between cuts", gt=0, le=60)
    health_port: int = Field(0, description="port of /healthz, /readyz and /metrics; 0: any free port")
    health_host: str = Field("127.0.0.1", description="address that these listen on; they ask for no password")


class SpoolSettings(BaseModel):
    """What producers at the pace of life keep on disk until the broker has acknowledged it."""

    model_config = {"extra": "forbid"}
    folder: Path | None = Field(None, description="where; without it `spool` in the data folder")
    max_mb: float = Field(
        1024,
        description="megabytes on disk at most; then production waits, nothing is dropped. 0: no spool, what the "
        "broker has not acknowledged is lost with the process",
        ge=0,
    )
    sync_s: float = Field(
        1.0,
        description="seconds of what was taken that a loss of power may cost (the death of a process costs nothing); "
        "0: none, each record is synced",
        ge=0,
        le=3600,
    )


class Grafana(BaseModel):
    """The Grafana that `pearlstream dashboards push` fills, and what it reaches from where it runs."""

    model_config = {"extra": "forbid"}
    url: str = Field("", description="http(s)://host:port")
    token: SecretStr = Field(SecretStr(""), description="token of a service account")
    clickhouse_url: str = Field("", description="where Grafana reaches ClickHouse; empty: the same address as ours")
    clickhouse_user: str = Field("", description="a user that may only read; empty: ours")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="its password; empty: ours")
    prometheus_url: str = Field("", description="where Grafana reaches Prometheus; empty: there is none")
    alert_email: str = Field("", description="whom alerts about the pipeline tell by mail; `;` between several")
    alert_webhook: SecretStr = Field(SecretStr(""), description="the same by an HTTP POST: http(s)://host/path")


class Live(BaseModel):
    """The page of `pearlstream live`."""

    model_config = {"extra": "forbid"}
    port: int = Field(8600, description="port on 127.0.0.1; 0: any free one", ge=0, le=65_535)
    token: SecretStr = Field(
        SecretStr(""),
        description="what a browser must show before it sees the page; needed to listen on an address that others "
        "reach. 16 characters or more",
    )

    @field_validator("token")
    @classmethod
    def _long_enough(cls, given: SecretStr) -> SecretStr:
        if given.get_secret_value() and len(given.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"a token has {SHORTEST_KEY} characters or more")
        return given


class Logging(BaseModel):
    """Log lines."""

    model_config = {"extra": "forbid"}
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level shown")


class Settings(BaseSettings):
    """All settings, with their defaults."""

    model_config = SettingsConfigDict(env_prefix="PEARLSTREAM_", env_nested_delimiter="__", extra="forbid")
    kafka: Kafka = Field(default_factory=Kafka)
    clickhouse: ClickHouse = Field(default_factory=ClickHouse)
    catalogue: CatalogueSettings = Field(default_factory=CatalogueSettings)
    embedded: Embedded = Field(default_factory=Embedded)
    worker: Worker = Field(default_factory=Worker)
    sink: Sink = Field(default_factory=Sink)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    grafana: Grafana = Field(default_factory=Grafana)
    live: Live = Field(default_factory=Live)
    log: Logging = Field(default_factory=Logging)

    @property
    def spool_folder(self) -> Path:
        """Where producers have their spools, each in a folder of its own."""
        return self.spool.folder or self.embedded.data_dir / "spool"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments, then the environment, then secrets as files, then the TOML file."""
        del dotenv_settings
        path = Path(os.environ.get("PEARLSTREAM_SETTINGS", "pearlstream.toml"))
        folder = os.environ.get("PEARLSTREAM_SECRETS_DIR") or None
        secrets = NestedSecretsSettingsSource(file_secret_settings, folder, secrets_nested_delimiter="__")
        return (init_settings, env_settings, secrets, TomlConfigSettingsSource(settings_cls, path))


def load_settings() -> Settings:
    """The effective settings. Raises SettingsError that names the setting, what it got and what would do."""
    named = os.environ.get("PEARLSTREAM_SETTINGS")
    if named and not Path(named).is_file():
        raise SettingsError(f"the settings file {named} does not exist", remedy="mend or unset PEARLSTREAM_SETTINGS")
    secrets = os.environ.get("PEARLSTREAM_SECRETS_DIR")
    if secrets and not Path(secrets).is_dir():
        raise SettingsError(
            f"the folder of secrets {secrets} does not exist", remedy="mend or unset PEARLSTREAM_SECRETS_DIR"
        )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "PEARLSTREAM_" + "__".join(str(part).upper() for part in first["loc"])
        raise SettingsError(
            f"setting {name}: {first['msg']}", remedy="`pearlstream doctor` lists all settings"
        ) from None
    except SourceError as error:
        raise SettingsError(
            f"{error}", remedy="lists are written as JSON, for example PEARLSTREAM_CATALOGUE__OVERLAYS='[\"folder\"]'"
        ) from None
