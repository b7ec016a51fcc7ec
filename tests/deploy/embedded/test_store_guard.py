"""What nobody may ask of the store."""

from __future__ import annotations

import pytest
from embedded_help import ask

from deploy.embedded.store.faults import StoreError
from deploy.embedded.store.guard import Guard, denied_engines, denied_names
from deploy.embedded.store.lexer import string_value, tokens
from deploy.embedded.store.statements import read_insert, read_statement

GUARD = Guard(
    denied_names([b"file", b"url", b"remote", b"s3", b"Python", b"executable", b"numbers", b"eval"]),
    denied_engines([b"MergeTree", b"ReplacingMergeTree", b"File", b"EmbeddedRocksDB", b"Executable", b"FileLog"]),
)

FORBIDDEN = [
    "SELECT * FROM file('/etc/passwd', LineAsString)",
    "SELECT file('/etc/passwd')",
    "select FiLe ('/etc/passwd')",
    "SELECT file/**/('/etc/passwd')",
    "SELECT file -- a comment\n('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\"('/etc/passwd')",
    "SELECT `fi\\x6ce`('/etc/passwd')",
    "SELECT “file”('/etc/passwd')",
    "SELECT file\u00a0('/etc/passwd')",
    "SELECT $$ ' $$, file('/etc/passwd'), $$ ' $$",
    "SELECT 1$x$ ' $x$, file('/etc/passwd'), $x$ ' $x$",
    "SELECT 1 # ' \n, file('/etc/passwd') # '",
    "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM s3('http://127.0.0.1:1/x', 'CSV')",
    "SELECT * FROM executable('id', TSV, 'a String')",
    "SELECT * FROM Python(os)",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT 1 INTO OUTFILE '/tmp/pearlstream-outfile' FORMAT CSV",
    "SELECT 1 into\n/* x */ outfile '/tmp/pearlstream-outfile'",
    "INSERT INTO default.t FROM INFILE '/etc/passwd' FORMAT LineAsString",
    "INSERT INTO FUNCTION file('/tmp/pearlstream-outfile', 'CSV', 'a Int8') VALUES (1)",
    "INSERT INTO default.t VALUES (length(file('/etc/passwd')))",
    "CREATE VIEW default.v AS SELECT file('/etc/passwd')",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE TABLE default.f (a String) ENGINE = File(CSV)",
    "CREATE TABLE default.f (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
    "CREATE TABLE default.f (a String DEFAULT file('/etc/passwd')) ENGINE = Memory",
    "CREATE TABLE default.f (a String) ENGINE = EmbeddedRocksDB(0, '/tmp/pearlstream-rocks') PRIMARY KEY a",
    "CREATE TABLE default.f (a String) ENGINE Executable('x.sh', TSV)",
    "CREATE TABLE default.f (a String) ENGINE=`FileLog`('/etc/passwd', LineAsString)",
    "CREATE TABLE default.f (a String) ENGINE = `File\\x4cog`('/etc/passwd', LineAsString)",
    "CREATE TABLE default.f (a Int8) ENGINE MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/tmp/x/')",
    "CREATE DICTIONARY default.d (a UInt64, b String) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) "
    "LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY default.d (a UInt64, b String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'id' format 'CSV')) "
    "LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY default.d (a UInt64, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY "
    "'SELECT 1, file(''/etc/passwd'')')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY default.d (a UInt64, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY "
    "'SELECT 1, f\\x69le(\\'/etc/passwd\\')')) LAYOUT(FLAT()) LIFETIME(0)",
    "SELECT 1; SELECT 2",
    "DROP DATABASE default",
    "DROP DATABASE IF EXISTS `default`",
]


def look_at(sql: bytes) -> None:
    """As the endpoint does."""
    head = read_insert(sql, GUARD)
    if head is None:
        read_statement(sql, GUARD, "TSV")
    elif head.format == "Values":
        GUARD.check(sql[head.data_start :])


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_reaches_outside_is_refused_before_the_engine_sees_it(sql: str):
    with pytest.raises(StoreError) as caught:
        look_at(sql.encode())
    assert caught.value.code in (62, 497)


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_reaches_outside_is_refused_over_http(embedded_store, sql: str):
    ask(embedded_store, b"CREATE TABLE IF NOT EXISTS default.t (a Int64) ENGINE Memory")
    reply = ask(embedded_store, sql.encode())
    assert (reply.status, reply.code) in ((400, 62), (403, 497))
    assert b"root:" not in reply.body


ONLY_THE_ENGINE = [
    "BACKUP TABLE default.t TO File('x')",
    "CREATE DATABASE x ENGINE = Filesystem",
    "SELECT * FROM `_local`.`/etc/passwd`",
    "CREATE NAMED COLLECTION c AS a = 1",
    "CREATE TABLE default.f (a String) ENGINE = Kafka SETTINGS kafka_broker_list = 'x'",
    "SYSTEM SHUTDOWN",
    "SYSTEM RELOAD USERS",
    "CREATE USER x",
    "GRANT ALL ON *.* TO default",
    "SET dialect = 'prql'",
    "SELECT 1 SETTINGS additional_result_filter = 'file(''/etc/passwd'') != '''''",
    "SELECT 1 SETTINGS format_schema = 'x'",
    "SET allow_introspection_functions = 1",
]


@pytest.mark.parametrize("sql", ONLY_THE_ENGINE)
def test_the_engine_itself_refuses_what_it_was_not_granted(embedded_store, sql: str):
    reply = ask(embedded_store, sql.encode())
    assert (reply.status, reply.code) in ((403, 497), (403, 452), (400, 62))


@pytest.mark.parametrize("name", ["dialect", "additional_result_filter", "format_schema", "output_format_schema"])
def test_fixed_settings_cannot_be_changed_from_the_query_string(embedded_store, name: str):
    assert ask(embedded_store, b"SELECT 1", **{name: "prql"}).code == 452
    assert ask(embedded_store, b"SELECT 1", additional_table_filters="{'system.one': '1'}").code == 452


def test_what_is_no_setting_is_refused(embedded_store):
    assert ask(embedded_store, b"SELECT 1", **{"a b; DROP": "1"}).code == 36
    assert ask(embedded_store, b"SELECT 1", no_such_setting=1).code == 115


def test_a_dictionary_over_http_reaches_nobody(embedded_store):
    sql = (
        "CREATE DICTIONARY default.far (a UInt64, b String) PRIMARY KEY a "
        "SOURCE(HTTP(url 'http://127.0.0.1:1/' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
    )
    assert ask(embedded_store, sql.encode()).code == 497


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'file(''x'')', `file` FROM (SELECT 1 AS `file`)",
        "SELECT '“', '改变', \"改变\" FROM (SELECT 1 AS \"改变\")",
        "SELECT number FROM numbers(10)",
        "SELECT 1 /* into outer space */ -- and back",
        "SELECT 1;",
        "SELECT engine FROM system.tables WHERE engine = 'File'",
        "CREATE TABLE t (a Int8, engine String) ENGINE = ReplacingMergeTree ORDER BY a",
        "SELECT replaceAll('a$b#c', '$', '')",
        "SHOW CREATE TABLE default.t",
        "SELECT profile, url FROM (SELECT 1 AS profile, 2 AS url)",
        "INSERT INTO default.t (a) VALUES",
        "DROP DATABASE IF EXISTS other",
    ],
)
def test_what_is_harmless_is_let_through(sql: str):
    read_statement(sql.encode(), GUARD, "TSV")


@pytest.mark.parametrize(
    ("sql", "into", "settings", "fmt", "rest"),
    [
        ("INSERT INTO t FORMAT Native\nxyz", "INSERT INTO t", "", "Native", "xyz"),
        ("INSERT INTO t (a) FORMAT CSV \t\r\n1", "INSERT INTO t (a)", "", "CSV", "1"),
        ("insert into t values (1)", "insert into t", "", "Values", " (1)"),
        ("INSERT INTO t SETTINGS a=1 FORMAT CSV\n\n1", "INSERT INTO t", "SETTINGS a=1", "CSV", "\n1"),
        ("INSERT INTO t (format, values) FORMAT TSV 'open", "INSERT INTO t (format, values)", "", "TSV", "'open"),
        ("INSERT INTO `values` (`format`) VALUES(1)", "INSERT INTO `values` (`format`)", "", "Values", "(1)"),
        ("/* c */INSERT INTO t FORMAT TSV", "/* c */INSERT INTO t", "", "TSV", ""),
    ],
)
def test_the_head_of_an_insert_ends_where_its_data_begin(sql, into, settings, fmt, rest):
    head = read_insert(sql.encode(), GUARD)
    assert head is not None
    assert (head.into.decode(), head.settings.decode(), head.format) == (into, settings, fmt)
    assert sql[head.data_start :] == rest


@pytest.mark.parametrize("sql", ["SELECT 1", "INSERT INTO t SELECT 1 FORMAT TSV", "INSERT INTO t (a) (SELECT 1)", ""])
def test_what_brings_no_data_is_no_data_insert(sql: str):
    assert read_insert(sql.encode(), GUARD) is None


@pytest.mark.parametrize(
    ("sql", "fmt", "streams"),
    [
        ("SELECT 1", "TSV", True),
        ("SELECT 1 FORMAT JSON", "JSON", False),
        ("SELECT 1 FORMAT Native SETTINGS max_threads = 1", "Native", True),
        ("SELECT format FROM t", "TSV", True),
        ("(SELECT 1) UNION ALL (SELECT 2) FORMAT CSV;", "CSV", True),
        ("SHOW TABLES", "TSV", False),
    ],
)
def test_the_format_of_the_answer_is_found(sql: str, fmt: str, streams: bool):
    statement = read_statement(sql.encode(), GUARD, "TSV")
    assert (statement.format, statement.streams, statement.answers) == (fmt, streams, True)


def test_the_first_query_of_the_go_driver_is_known():
    hello = b"SELECT displayName(), version(), revision(), timezone()"
    assert read_statement(hello, GUARD, "Native").hello
    assert not read_statement(hello + b", 1", GUARD, "Native").hello


def test_the_go_driver_is_greeted_in_its_own_layout(embedded_store):
    """A block with preamble and a flag per column; the revision in it is 0, so that all others are plain."""
    hello = b"SELECT displayName(), version(), revision(), timezone()"
    body = ask(embedded_store, hello, default_format="Native", client_protocol_version=54483).body
    assert body.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00\x0bpearlstream")
    assert b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x00" in body
    plain = ask(embedded_store, b"SELECT 1 AS x", default_format="Native").body
    assert plain == b"\x01\x01\x01x\x05UInt8\x01"


def test_strings_are_unescaped_as_the_engine_does():
    assert string_value(rb"'a''b\'c\\d\x41\n'") == b"a'b'c\\dA\n"


def test_a_token_is_found_where_it_stands():
    sql = b"SELECT `a``b`, 'x''y' -- end"
    assert [sql[token.start : token.end] for token in tokens(sql)] == [
        b"SELECT",
        b"`a``b`",
        b",",
        b"'x''y'",
        b"-- end",
    ]
