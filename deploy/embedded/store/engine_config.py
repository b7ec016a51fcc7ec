"""The engine's own configuration: what its user may do, and how much of a small machine it takes.

chDB takes ClickHouse's configuration files, so the engine itself refuses most of what reaches outside of
it: the grants below name no source (file, url, remote, ...), and so no engine that reads one, no backup
and no user management. Whatever the endpoint in front overlooks still meets these.
"""

from __future__ import annotations

import uuid
from pathlib import Path

DATA = "data"
CONFIG = "engine"
INCOMING = "incoming"
"""Names within the store's folder: the engine's files, its configuration, bodies of running inserts."""

_GRANTS = (
    "SHOW, SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, KILL QUERY, dictGet, CHECK",
    "SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM FLUSH, SYSTEM VIEWS, SYSTEM CLEANUP, SYSTEM SYNC REPLICA, "
    "SYSTEM DROP CACHE, SYSTEM RELOAD DICTIONARY",
)

_FIXED = {
    # Another language would pass by the guard, which reads SQL.
    "dialect": "clickhouse",
    # SQL in a setting's value would, too.
    "additional_result_filter": "",
    "additional_table_filters": "{}",
    # These name files.
    "format_schema": "",
    "output_format_schema": "",
    "allow_introspection_functions": "0",
}
"""Settings that no request may change, with their values; the engine itself holds on to them."""

_DEFAULTS = {
    # Whoever batches by himself and counts on tokens wants his insert done when it is answered.
    "async_insert": "0",
}


def write_config(folder: Path) -> str:
    """Write the configuration below `folder` (the store's); returns its name relative to it."""
    config = folder / CONFIG
    config.mkdir(exist_ok=True)
    (config / "users.xml").write_text(_users())
    (config / "config.xml").write_text(_server())
    _settle_default_database(folder / DATA)
    return f"{CONFIG}/config.xml"


def _settle_default_database(data: Path) -> None:
    """Make `default` an ordinary database.

    chDB would put one in its place that looks for unknown tables among the files of the machine, and asks
    for the right to read them. It takes the name that the configuration gives it instead, if `default` is
    on record; but it takes this one's identity, and aborts, if it finds the link that it made last time.
    """
    metadata = data / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    record = metadata / "default.sql"
    if not record.exists():
        record.write_text(f"ATTACH DATABASE _ UUID '{uuid.uuid4()}'\nENGINE = Atomic\n")
    link = metadata / "default"
    if link.is_symlink():
        link.unlink()


def _users() -> str:
    grants = "".join(f"<query>GRANT {grant} ON *.*</query>" for grant in _GRANTS)
    settings = "".join(f"<{name}>{value}</{name}>" for name, value in {**_DEFAULTS, **_FIXED}.items())
    fixed = "".join(f"<{name}><const/></{name}>" for name in _FIXED)
    return (
        "<clickhouse>"
        f"<profiles><default>{settings}<constraints>{fixed}</constraints></default></profiles>"
        "<quotas><default/></quotas>"
        "<users><default><password/><networks><ip>::/0</ip></networks>"
        "<profile>default</profile><quota>default</quota>"
        f"<grants>{grants}</grants></default></users>"
        "</clickhouse>\n"
    )


def _server() -> str:
    return (
        "<clickhouse>"
        "<logger><level>warning</level></logger>"
        "<display_name>pearlstream</display_name>"
        # Not the machine's: what a query returns shall not depend on where it runs.
        "<timezone>UTC</timezone>"
        "<default_database>_local</default_database>"
        f"<users_config>{CONFIG}/users.xml</users_config>"
        f"<user_directories><users_xml><path>{CONFIG}/users.xml</path></users_xml></user_directories>"
        # A list that no host is on: dictionaries and functions reach nobody.
        "<remote_url_allow_hosts><host>nobody.invalid</host></remote_url_allow_hosts>"
        "<max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>"
        "<mark_cache_size>134217728</mark_cache_size>"
        "<index_mark_cache_size>33554432</index_mark_cache_size>"
        "<background_pool_size>4</background_pool_size>"
        "<merge_tree>"
        # Must lie below the number of merges that the pool above allows.
        "<number_of_free_entries_in_pool_to_lower_max_size_of_merge>2"
        "</number_of_free_entries_in_pool_to_lower_max_size_of_merge>"
        "<number_of_free_entries_in_pool_to_execute_mutation>2"
        "</number_of_free_entries_in_pool_to_execute_mutation>"
        "<number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2"
        "</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>"
        "</merge_tree>"
        "</clickhouse>\n"
    )
