"""Migrations: generated, additive, repeatable; what would change stored values is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, FieldSpec, Name
from pearlstream.errors import CatalogueError
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse.migrate import check, migrate, plan


def with_feed(catalogue: Catalogue, feed: Feed) -> Catalogue:
    return replace(catalogue, feeds={**catalogue.feeds, feed.id: feed})


def with_field(catalogue: Catalogue, feed: str, name: str, spec: FieldSpec) -> Catalogue:
    old = catalogue.feeds[feed]
    return with_feed(catalogue, old.model_copy(update={"fields": {**old.fields, name: spec}}))


def test_a_new_database_gets_everything_and_a_second_run_does_nothing(store: Store, catalogue: Catalogue) -> None:
    first = migrate(store, catalogue)
    assert first.version == 1
    assert len(first.statements) > 20
    assert migrate(store, catalogue).empty
    check(store, catalogue)
    rows = store.query(f"SELECT version, md5, script FROM `{store.database}`.schema_versions")
    assert rows == [(1, first.md5, first.script)]


def test_an_unmigrated_database_is_named_with_the_remedy(store: Store, catalogue: Catalogue) -> None:
    with pytest.raises(StoreError, match="store migrate") as caught:
        check(store, catalogue)
    assert caught.value.trouble is Trouble.SCHEMA


def test_a_new_feed_brings_its_table_and_views(store: Store, catalogue: Catalogue) -> None:
    migrate(store, catalogue)
    feed = Feed(
        id="water.level", name=Name(en="Water level", zh="水位"), device="gauge", cadence_s=60,
        fields={"level_m": FieldSpec(unit="m", decimals=3)},
    )  # fmt: skip
    done = migrate(store, with_feed(catalogue, feed))
    assert done.version == 2
    assert len(done.statements) == 3
    assert store.query(f"SELECT count() FROM `{store.database}`.readings_water_level_v") == [(0,)]
    listed = store.query(f"SELECT readings_table FROM `{store.database}`.catalogue_feeds WHERE id = 'water.level'")
    assert listed == [("readings_water_level",)]


def test_a_new_field_becomes_a_column_that_is_null_for_the_past(store: Store, catalogue: Catalogue) -> None:
    migrate(store, catalogue)
    table = f"`{store.database}`.readings_traffic_flow"
    store.command(f"INSERT INTO {table} (city, device, ts) VALUES ('440300', 'd', '2026-01-01')")
    done = migrate(store, with_field(catalogue, "traffic.flow", "noise_db", FieldSpec(unit="dB", decimals=1)))
    assert next(s.split("`")[4].strip() for s in done.statements) == "ADD COLUMN IF NOT EXISTS"
    assert store.query(f"SELECT noise_db FROM {table}_v") == [(None,)]


@pytest.mark.parametrize(
    ("spec", "said"),
    [(FieldSpec(decimals=3), "1 decimals, the catalogue now wants 3"), (FieldSpec(type="text"), "Nullable")],
    ids=["decimals", "type"],
)
def test_a_change_of_meaning_is_refused(store: Store, catalogue: Catalogue, spec: FieldSpec, said: str) -> None:
    migrate(store, catalogue)
    with pytest.raises(CatalogueError, match=said) as caught:
        plan(store, with_field(catalogue, "traffic.flow", "flow_vpm", spec))
    assert "flow_vpm" in caught.value.message
    assert "new name" in caught.value.remedy


def test_a_new_unit_only_changes_the_comment(store: Store, catalogue: Catalogue) -> None:
    migrate(store, catalogue)
    spec = catalogue.feeds["traffic.flow"].fields["flow_vpm"].model_copy(update={"unit": "veh/min'; DROP"})
    done = migrate(store, with_field(catalogue, "traffic.flow", "flow_vpm", spec))
    assert len(done.statements) == 1
    assert migrate(store, with_field(catalogue, "traffic.flow", "flow_vpm", spec)).empty


def test_a_migration_that_was_cut_off_is_completed(store: Store, catalogue: Catalogue) -> None:
    for statement in plan(store, catalogue).statements[:7]:
        store.command(statement)
    migrate(store, catalogue)
    assert migrate(store, catalogue).empty


def test_dashboards_can_join_names_and_thresholds(store: Store, catalogue: Catalogue) -> None:
    migrate(store, catalogue)
    db = f"`{store.database}`"
    assert store.query(f"SELECT zh FROM {db}.catalogue_cities WHERE id = '440300'") == [("深圳",)]
    ids = {row[0] for row in store.query(f"SELECT id FROM {db}.catalogue_indicators")}
    assert ids == set(catalogue.indicators)
    ruled = {one.id for one in catalogue.indicators.values() if one.alert}
    assert {row[0] for row in store.query(f"SELECT indicator FROM {db}.catalogue_thresholds")} == ruled


def test_the_dictionary_of_cities_answers(store: Store, catalogue: Catalogue) -> None:
    migrate(store, catalogue)
    assert store.query(f"SELECT dictGet('{store.database}.city', 'zh', '440300')") == [("深圳",)]
