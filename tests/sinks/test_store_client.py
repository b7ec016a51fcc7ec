"""The store client: failures in our words, no password anywhere."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from pearlstream.errors import SettingsError
from pearlstream.settings import ClickHouse
from pearlstream.store import Store, StoreError, Trouble


def test_values_go_as_parameters(store: Store) -> None:
    assert store.query("SELECT {a:String}, {b:Array(Int64)}", {"a": "it's", "b": [1, 2]}) == [("it's", [1, 2])]
    assert store.dicts("SELECT 1 AS one") == [{"one": 1}]
    assert store.arrow("SELECT toInt64(1) AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    ("sql", "trouble"),
    [
        ("SELECT * FROM nowhere.nothing", Trouble.SCHEMA),
        ("SELECT nothing FROM system.one", Trouble.SCHEMA),
        ("SELEC 1", Trouble.REFUSED),
        ("SELECT throwIf(1)", Trouble.REFUSED),
    ],
)
def test_failures_say_what_can_be_done(store: Store, sql: str, trouble: Trouble) -> None:
    with pytest.raises(StoreError) as caught:
        store.query(sql)
    assert caught.value.trouble is trouble
    assert caught.value.code
    assert caught.value.remedy


def test_a_store_that_is_not_there_is_away() -> None:
    store = Store(ClickHouse(url="http://127.0.0.1:9", password=SecretStr("hunter2hunter2")))
    with pytest.raises(StoreError) as caught:
        store.query("SELECT 1")
    assert caught.value.trouble is Trouble.AWAY
    assert caught.value.exit_code == 70
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_denied_and_not_shown(store_settings: ClickHouse) -> None:
    store = Store(store_settings.model_copy(update={"password": SecretStr("hunter2hunter2")}))
    with pytest.raises(StoreError) as caught:
        store.query("SELECT 1")
    assert caught.value.trouble is Trouble.DENIED
    assert caught.value.exit_code == 78
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "clickhouse", "ftp://x", "http://u:p@x", "http://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="CLICKHOUSE__URL"):
        Store(ClickHouse(url=url))
