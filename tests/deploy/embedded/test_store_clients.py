"""What ClickHouse's Python client asks of the store, it gets."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import lz4.frame
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData
from embedded_help import ask, connect, wait_until

DATABASE = "store_clients"
ROWS = 200_000


@pytest.fixture
def client(embedded_store):
    """A client in a database of ours, with an empty table `t`."""
    connect(embedded_store).command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    client = connect(embedded_store, database=DATABASE)
    client.command(
        "CREATE OR REPLACE TABLE t (a Int64, s LowCardinality(String), f Nullable(Float64)) "
        "ENGINE MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    yield client
    client.close()


def rows(count: int = ROWS) -> pa.Table:
    numbers = np.arange(count)
    return pa.table({"a": numbers, "s": [f"s{n % 1000}" for n in range(count)], "f": numbers / 4})


SUMS = f"SELECT count(), sum(a), sum(f), uniqExact(s) FROM {DATABASE}.t"
EXPECTED = (ROWS, ROWS * (ROWS - 1) // 2, ROWS * (ROWS - 1) / 8, 1000)


@pytest.mark.parametrize("compression", [False, "lz4", "zstd", "gzip"])
def test_rows_inserted_in_the_native_format_arrive_whole(embedded_store, client: Client, compression):
    """The client cuts them into blocks and compresses each into a frame of its own."""
    other = connect(embedded_store, database=DATABASE, compress=compression)
    table = rows()
    columns = [table["a"].to_numpy(), table["s"].to_pylist(), table["f"].to_numpy()]
    other.insert("t", columns, column_names=["a", "s", "f"], column_oriented=True)
    assert client.query(SUMS).first_row == EXPECTED


@pytest.mark.parametrize("compression", [False, "lz4", "zstd", "gzip", "deflate"])
def test_rows_inserted_as_arrow_arrive_whole_and_come_back_whole(embedded_store, client: Client, compression):
    other = connect(embedded_store, database=DATABASE, compress=compression)
    other.insert_arrow("t", rows())
    assert client.query(SUMS).first_row == EXPECTED
    assert len(other.query("SELECT * FROM t").result_rows) == ROWS
    with other.query_row_block_stream("SELECT * FROM t") as stream:
        assert sum(len(block) for block in stream) == ROWS
    assert other.query_arrow("SELECT a FROM t").num_rows == ROWS


def pack_lz4(data: bytes) -> bytes:
    return lz4.frame.compress(data)


def pack_zstd(data: bytes) -> bytes:
    return zstandard.compress(data)


PACKERS = {"lz4": pack_lz4, "zstd": pack_zstd, "gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("name", PACKERS)
def test_a_body_of_many_frames_is_read_to_its_end(embedded_store, client: Client, name: str):
    lines = b"".join(b'{"a": %d, "s": "x"}\n' % n for n in range(3000))
    cuts = range(0, len(lines), 5000)
    body = b"".join(PACKERS[name](lines[cut : cut + 5000]) for cut in cuts)
    query = "INSERT INTO store_clients.t FORMAT JSONEachRow"
    reply = ask(embedded_store, body, query=query, headers={"Content-Encoding": name})
    assert reply.status == 200, reply.body
    assert client.command("SELECT count() FROM t") == 3000
    assert json.loads(reply.headers["x-clickhouse-summary"])["written_rows"] == "3000"


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"\1\2" + packed], ids=["cut", "bad"])
def test_a_damaged_body_inserts_nothing(embedded_store, client: Client, name: str, damage):
    lines = b"".join(b'{"a": %d, "s": "x"}\n' % n for n in range(3000))
    query = "INSERT INTO store_clients.t FORMAT JSONEachRow"
    reply = ask(embedded_store, damage(PACKERS[name](lines)), query=query, headers={"Content-Encoding": name})
    assert (reply.status, reply.code) == (400, 271)
    assert client.command("SELECT count() FROM t") == 0


def test_an_unknown_compression_is_refused_with_those_that_are_known(embedded_store):
    reply = ask(embedded_store, b"SELECT 1", headers={"Content-Encoding": "br"})
    assert (reply.status, reply.code) == (501, 48)
    assert b"lz4, zstd, gzip, deflate" in reply.body


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"INSERT INTO store_clients.t (a, s) VALUES (1, 'one'), (2, 'it''s; (x')"),
        ("", b'INSERT INTO store_clients.t (a, s) FORMAT JSONEachRow {"a": 1, "s": "one"} {"a": 2}'),
        ("", b"INSERT INTO store_clients.t (a, s) SETTINGS max_threads = 1 FORMAT CSV\n1,one\n2,two\n"),
        ("INSERT INTO store_clients.t (a, s) FORMAT TSV", b"1\tone\n2\ttwo\n"),
        ("INSERT INTO store_clients.t (a, s) VALUES", b"(1, 'one'), (1 + 1, 'two')"),
        ("INSERT INTO store_clients.t (a, s) VALUES (1, 'one'), (2, 'two')", b""),
        ("/* a */ insert into `store_clients`.`t`(a, s) select number + 1, 'x' from numbers(2)", b""),
        ("INSERT INTO TABLE store_clients.t (a, s) SELECT number + 1, 'x' FROM numbers(2) FORMAT Null", b""),
    ],
)
def test_inserts_are_understood_however_they_are_written(embedded_store, client: Client, query: str, body: bytes):
    reply = ask(embedded_store, body, **({"query": query} if query else {}))
    assert reply.status == 200, reply.body
    assert client.query("SELECT groupArray(a) FROM (SELECT a FROM t ORDER BY a)").first_row == ([1, 2],)


def test_a_batch_inserted_twice_under_one_token_counts_once(client: Client):
    for _ in range(3):
        client.insert_arrow("t", rows(10), settings={"insert_deduplication_token": "life/readings/0-9"})
    assert client.command("SELECT count() FROM t") == 10
    for _ in range(2):
        client.insert_arrow("t", rows(), settings={"insert_deduplication_token": "life/readings/10-19"})
    assert client.command("SELECT count() FROM t") == 10 + ROWS


def test_inserts_of_materialized_views_are_deduplicated_too(client: Client):
    client.command(
        "CREATE OR REPLACE TABLE sums (s String, n SimpleAggregateFunction(sum, UInt64)) ENGINE AggregatingMergeTree "
        "ORDER BY s SETTINGS non_replicated_deduplication_window = 100"
    )
    client.command("DROP VIEW IF EXISTS to_sums")
    client.command("CREATE MATERIALIZED VIEW to_sums TO sums AS SELECT s, count() AS n FROM t GROUP BY s")
    settings = {"insert_deduplication_token": "x", "deduplicate_blocks_in_dependent_materialized_views": 1}
    for _ in range(2):
        client.insert_arrow("t", rows(10), settings=settings)
    assert client.command("SELECT sum(n) FROM sums") == 10
    client.command("DROP VIEW to_sums")


def test_settings_hold_for_one_request_only(embedded_store, client: Client):
    default = client.query("SELECT getSetting('max_threads')").first_row
    for _ in range(3):
        asked = client.query("SELECT getSetting('max_threads')", settings={"max_threads": 1})
        assert asked.first_row == (1,)
        assert client.query("SELECT getSetting('max_threads')").first_row == default
    # The engine's own default of this one is 1, ours is 0: it must come back to ours.
    assert client.command("SELECT getSetting('async_insert')", settings={"async_insert": 1}) == "true"
    assert client.command("SELECT getSetting('async_insert')") == "false"
    assert ask(embedded_store, b"SELECT getSetting('async_insert')").body == b"false\n"


def test_a_failed_request_leaves_no_settings_behind(client: Client):
    with pytest.raises(DatabaseError):
        client.query("SELECT * FROM nowhere", settings={"max_threads": 1})
    assert client.query("SELECT getSetting('max_threads')").first_row != (1,)


def test_a_session_remembers_what_was_set_and_made_in_it(embedded_store, client: Client):
    session = connect(embedded_store, session_id="remembering")
    session.command("SET max_threads = 3")
    session.command("CREATE TEMPORARY TABLE mine (a Int8)")
    session.command("INSERT INTO mine VALUES (7)")
    assert session.command("SELECT getSetting('max_threads')", settings={"max_threads": 1}) == 1
    assert session.command("SELECT getSetting('max_threads')") == 3
    assert session.command("SELECT a FROM mine") == 7
    other = connect(embedded_store)
    assert other.command("SELECT getSetting('max_threads')") != 3
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.command("SELECT a FROM mine")


def test_without_a_session_set_and_use_end_with_the_request(embedded_store):
    ask(embedded_store, b"SET max_threads = 3")
    ask(embedded_store, b"USE system")
    body = ask(embedded_store, b"SELECT getSetting('max_threads') = 3, currentDatabase()").body
    assert body in (b"0\tdefault\n", b"false\tdefault\n")


def begin(store, sql: bytes, **query: str) -> http.client.HTTPConnection:
    """Send a query without waiting for its answer; it runs when this comes back."""
    parts = urlsplit(store.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    login = {"X-ClickHouse-User": store.user, "X-ClickHouse-Key": store.password}
    connection.request("POST", "/?" + urlencode(query), body=sql, headers=login)
    count = b"SELECT count() FROM system.processes WHERE query = '%b'" % sql
    wait_until(lambda: ask(store, count).body == b"1\n")
    return connection


def test_two_requests_at_once_in_one_session_are_refused(embedded_store):
    connection = begin(embedded_store, b"SELECT count() FROM numbers(1000000000000)", session_id="busy")
    assert ask(embedded_store, b"SELECT 1", session_id="busy").code == 373
    connection.close()
    wait_until(lambda: ask(embedded_store, b"SELECT 1", session_id="busy").body == b"1\n")


def test_a_session_is_free_as_soon_as_its_answer_is_read(embedded_store):
    client = connect(embedded_store, session_id="hurried")
    for _ in range(100):
        with client.query_row_block_stream("SELECT number FROM numbers(10)") as stream:
            assert sum(len(block) for block in stream) == 10


def test_a_session_ends_when_its_time_is_over(embedded_store):
    ask(embedded_store, b"SET max_threads = 3", session_id="short", session_timeout=0.05)
    threads = b"SELECT getSetting('max_threads')"
    wait_until(lambda: ask(embedded_store, threads, session_id="short", session_timeout=0).body != b"3\n")


def test_parameters_arrive_as_they_were_given(client: Client):
    given = {"a": ["it's", "tab\there", "back\\slash", "改变"], "b": 7, "c": None, "d": "line\nbreak"}
    sql = "SELECT {a:Array(String)}, {b:Int64}, {c:Nullable(String)}, {d:String}"
    assert client.query(sql, parameters=given).first_row == (given["a"], 7, None, "line\nbreak")


def test_parameters_too_large_for_a_url_arrive_too(client: Client):
    given = {"a": "z" * 300_000}
    assert client.query("SELECT {a:String}", parameters=given).first_row == (given["a"],)  # in a form
    assert client.command("SELECT {a:String}", parameters=given) == given["a"]  # in a long URL


def test_a_table_can_come_with_the_query(client: Client):
    data = ExternalData(file_name="mine.csv", data=b"1\n2\n3\n", fmt="CSV", structure="x Int64")
    assert client.query("SELECT sum(x) FROM mine", external_data=data).first_row == (6,)


@pytest.mark.parametrize(
    ("sql", "code", "name", "status"),
    [
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE", 404),
        ("SELECT * FROM nowhere.t", 81, "UNKNOWN_DATABASE", 404),
        ("SELECT nothing FROM t", 47, "UNKNOWN_IDENTIFIER", 404),
        ("SELEC 1", 62, "SYNTAX_ERROR", 400),
        ("SELECT 'open", 62, "SYNTAX_ERROR", 400),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500),
        ("SELECT 1 SETTINGS no_such = 1", 115, "UNKNOWN_SETTING", 404),
        ("CREATE USER x", 497, "ACCESS_DENIED", 403),
    ],
)
def test_errors_carry_their_code_and_name(embedded_store, client: Client, sql: str, code: int, name: str, status: int):
    with pytest.raises(DatabaseError) as caught:
        client.query(sql)
    assert (caught.value.code, caught.value.name) == (code, name)
    reply = ask(embedded_store, sql.encode(), database=DATABASE)
    assert (reply.status, reply.code) == (status, code)


def test_an_insert_that_does_not_fit_says_why(client: Client):
    with pytest.raises(DatabaseError) as caught:
        client.raw_insert("t", insert_block=b"not,a,number,at,all\n", fmt="CSV")
    assert caught.value.code == 27
    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize("compression", [False, "lz4", "gzip"])
def test_an_error_in_the_middle_of_a_stream_is_an_error_of_the_reader(embedded_store, compression):
    client = connect(embedded_store, compress=compression)
    sql = "SELECT throwIf(number = 500000) FROM numbers(1000000)"
    # The client first reads the text of the error as one more block. Mostly it runs out of bytes and looks again; of a
    # longer text (the engine says where it was, which varies) it finds no type for the second column, and gives up so.
    with pytest.raises((StreamFailureError, IndexError)) as caught, client.query_row_block_stream(sql) as stream:
        for _ in stream:
            pass
    assert isinstance(caught.value, IndexError) or caught.value.code == 395
    assert client.command("SELECT 1") == 1


def test_the_columns_of_an_empty_answer_are_known(client: Client):
    assert client.query("SELECT * FROM t LIMIT 0").column_names == ("a", "s", "f")
    assert client.query_arrow("SELECT * FROM t").schema.names == ["a", "s", "f"]


@pytest.mark.parametrize("fmt", ["JSON", "JSONEachRow", "CSVWithNames", "Parquet", "TSV"])
def test_the_format_of_an_answer_can_be_chosen(embedded_store, client: Client, fmt: str):
    said = ask(embedded_store, f"SELECT 1 AS x FORMAT {fmt}".encode())
    asked = ask(embedded_store, b"SELECT 1 AS x", default_format=fmt)
    assert said.headers["x-clickhouse-format"] == asked.headers["x-clickhouse-format"] == fmt
    if fmt != "JSON":  # it says how long it took
        assert said.body == asked.body


def test_answers_of_all_compressions_are_what_was_asked(embedded_store):
    plain = ask(embedded_store, b"SELECT number FROM numbers(100000)").body
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress, "lz4": lz4.frame.decompress}
    unpack["zstd"] = lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
    for name, function in unpack.items():
        for wait in ("0", "1"):  # streamed, whole
            reply = ask(
                embedded_store,
                b"SELECT number FROM numbers(100000)",
                headers={"Accept-Encoding": name},
                enable_http_compression=1,
                wait_end_of_query=wait,
            )
            assert reply.headers["content-encoding"] == name
            assert function(reply.body) == plain


def test_the_system_tables_answer(client: Client):
    assert client.query("SELECT name FROM system.tables WHERE database = 'store_clients'").row_count >= 1
    assert client.command("SELECT count() FROM system.settings") > 1000
    assert client.query("SELECT * FROM system.parts WHERE database = 'store_clients'").column_names
    assert client.query("SHOW TABLES").result_rows
    assert client.query("DESCRIBE TABLE t").row_count == 3
    assert client.command("SELECT timezone()") in ("UTC", "Etc/UTC")


def test_the_table_engines_that_we_use_are_there(client: Client):
    client.command(
        "CREATE OR REPLACE TABLE readings (city LowCardinality(String), "
        "ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD), v Int64 CODEC(T64, ZSTD), keep UInt64) "
        "ENGINE ReplacingMergeTree(keep) PARTITION BY toDate(ts) ORDER BY (city, ts)"
    )
    client.command("CREATE OR REPLACE VIEW exact AS SELECT city, v / 100 AS v FROM readings FINAL")
    client.command("INSERT INTO readings VALUES ('440300', '2026-06-01', 1, 5), ('440300', '2026-06-01', 2, 9)")
    assert client.query("SELECT * FROM exact").result_rows == [("440300", 0.02)]
    client.command(
        "CREATE OR REPLACE DICTIONARY names (city String, name String) PRIMARY KEY city "
        "SOURCE(CLICKHOUSE(DB 'store_clients' TABLE 'cities')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)"
    )
    client.command("CREATE OR REPLACE TABLE cities (city String, name String) ENGINE MergeTree ORDER BY city")
    client.command("INSERT INTO cities VALUES ('440300', '深圳')")
    assert client.command("SELECT dictGet('store_clients.names', 'name', '440300')") == "深圳"
    client.command("ALTER TABLE cities REPLACE PARTITION tuple() FROM cities")
    client.command("OPTIMIZE TABLE readings FINAL")


def test_twenty_queries_at_once_are_all_answered(embedded_store):
    async def run() -> list[int]:
        parts = urlsplit(embedded_store.url)
        client = await clickhouse_connect.get_async_client(
            host=parts.hostname,
            port=parts.port,
            username=embedded_store.user,
            password=embedded_store.password,
            autogenerate_session_id=False,
        )
        async with client:
            answers = await asyncio.gather(*(client.query(f"SELECT {n}, sleep(0.02)") for n in range(20)))
        return [answer.first_row[0] for answer in answers]

    assert asyncio.run(run()) == list(range(20))


def test_a_query_whose_client_goes_away_is_stopped(embedded_store):
    begin(embedded_store, b"SELECT count() FROM numbers(1000000000001)").close()
    running = b"SELECT count() FROM system.processes WHERE query = 'SELECT count() FROM numbers(1000000000001)'"
    wait_until(lambda: ask(embedded_store, running).body == b"0\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_insert_cut_off_on_its_way_inserts_nothing(embedded_store, client: Client, chunked: bool):
    parts = urlsplit(embedded_store.url)
    lines = b'{"a": 1, "s": "x"}\n' * 1000
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 * len(lines)}"
    head = (
        "POST /?query=INSERT+INTO+store_clients.t+FORMAT+JSONEachRow HTTP/1.1\r\nHost: localhost\r\n"
        f"X-ClickHouse-User: {embedded_store.user}\r\nX-ClickHouse-Key: {embedded_store.password}\r\n{length}\r\n\r\n"
    )
    body = b"%x\r\n%b\r\n" % (len(lines), lines) if chunked else lines
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)
    client.insert_arrow("t", rows(1))
    assert client.command("SELECT count() FROM t") == 1


def test_rows_that_fail_at_the_end_of_a_batch_fail_the_whole_batch(embedded_store, client: Client):
    lines = b"".join(b"%d,x,1\n" % n for n in range(100_000)) + b"not a number,x,1\n"
    reply = ask(embedded_store, lines, query="INSERT INTO store_clients.t FORMAT CSV")
    assert reply.code in (27, 72)
    assert client.command("SELECT count() FROM t") == 0


def test_many_clients_insert_and_read_at_once(embedded_store, client: Client):
    def insert(worker: int) -> None:
        own = connect(embedded_store, database=DATABASE)
        for n in range(10):
            own.insert("t", [(worker * 10 + n, "x", None)], column_names=["a", "s", "f"])
            own.command("SELECT count() FROM t")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(insert, range(6)))
    assert client.query("SELECT count(), uniqExact(a) FROM t").first_row == (60, 60)
