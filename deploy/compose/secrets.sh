#!/bin/sh
# Makes the secrets that compose.yaml names, each once; delete a file to have it made anew.
# The folder is yours alone; the files in it must be readable for the users that containers run as.
set -eu
umask 077
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)/secrets
mkdir -p "$folder"

for name in clickhouse_password reader_password grafana_password; do
    [ -s "$folder/$name" ] && continue
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$name"
    chmod 0444 "$folder/$name"
    printf 'made secrets/%s\n' "$name"
done

# ClickHouse knows the reader, who may only look, by the hash of its password.
hash=$(sha256sum "$folder/reader_password" | cut -d' ' -f1)
cat >"$folder/reader.xml.new" <<END
<clickhouse>
    <profiles>
        <reader>
            <readonly>1</readonly>
            <max_memory_usage>2000000000</max_memory_usage>
            <constraints>
                <max_execution_time><changeable_in_readonly/><max>60</max></max_execution_time>
            </constraints>
        </reader>
    </profiles>
    <users>
        <reader>
            <password_sha256_hex>$hash</password_sha256_hex>
            <profile>reader</profile>
            <quota>default</quota>
            <networks><ip>::/0</ip></networks>
            <grants><query>GRANT SELECT ON pearlstream.*</query></grants>
        </reader>
    </users>
</clickhouse>
END
chmod 0444 "$folder/reader.xml.new"
mv -f "$folder/reader.xml.new" "$folder/reader.xml"
