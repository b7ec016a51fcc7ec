"""The ClickHouse sink: schema, migrations, writer, ledger."""
