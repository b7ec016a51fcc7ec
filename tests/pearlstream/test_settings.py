"""Settings: where they come from, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pearlstream.errors import SettingsError
from pearlstream.settings import load_settings

PASSWORD = "PEARLSTREAM_CLICKHOUSE__PASSWORD"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets as files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSWORD, raising=False)
    monkeypatch.setenv("PEARLSTREAM_SECRETS_DIR", str(tmp_path / "secrets"))
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


def test_a_secret_may_be_a_file_called_like_its_variable(secrets: Path) -> None:
    (secrets / PASSWORD).write_text("from-a-file\n")
    (secrets / "somebody-elses").write_text("not ours")
    assert load_settings().clickhouse.password.get_secret_value() == "from-a-file"


def test_the_environment_wins_over_files_and_files_over_toml(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets.parent / "pearlstream.toml").write_text('[clickhouse]\npassword = "toml"\nuser = "from-toml"\n')
    assert load_settings().clickhouse.password.get_secret_value() == "toml"
    (secrets / PASSWORD).write_text("file")
    found = load_settings().clickhouse
    assert (found.password.get_secret_value(), found.user) == ("file", "from-toml")
    monkeypatch.setenv(PASSWORD, "environment")
    assert load_settings().clickhouse.password.get_secret_value() == "environment"


def test_a_folder_of_secrets_that_is_not_there_is_an_error_that_names_it(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEARLSTREAM_SECRETS_DIR", str(secrets / "missing"))
    with pytest.raises(SettingsError, match="missing"):
        load_settings()


def test_a_setting_that_cannot_be_is_named_as_one_writes_it(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEARLSTREAM_KAFKA__PARTITIONS", "0")
    with pytest.raises(SettingsError, match="PEARLSTREAM_KAFKA__PARTITIONS"):
        load_settings()


def test_health_pages_listen_on_the_loopback_address_unless_told(secrets: Path) -> None:
    found = load_settings()
    assert {found.worker.health_host, found.sink.health_host} == {"127.0.0.1"}
