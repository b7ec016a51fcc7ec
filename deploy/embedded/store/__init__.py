"""The embedded store: ClickHouse's own engine (chDB) behind the part of ClickHouse's HTTP protocol we need."""
