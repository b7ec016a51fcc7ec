"""Who may come in, from where, and what a GET may do."""

from __future__ import annotations

import base64
import socket
from urllib.parse import urlsplit

import pytest
from embedded_help import ask

from deploy.embedded.store.__main__ import main


def test_ping_answers_without_a_password(embedded_store):
    import http.client

    parts = urlsplit(embedded_store.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request("GET", "/ping")
    assert connection.getresponse().read() == b"Ok.\n"
    connection.close()


def test_the_store_listens_on_the_loopback_address_only(embedded_store):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", urlsplit(embedded_store.url).port), 2)


def test_without_a_password_nothing_is_answered(embedded_store):
    reply = ask(embedded_store, b"SELECT 1", login=False)
    assert (reply.status, reply.code) == (401, 516)
    assert "basic" in reply.headers["www-authenticate"].lower()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [
        basic("pearlstream", "wrong"),
        basic("pearlstream", ""),
        basic("default", ""),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer x"},
        {"X-ClickHouse-User": "pearlstream", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "default"},
    ],
)
def test_a_wrong_password_is_refused(embedded_store, headers: dict[str, str]):
    reply = ask(embedded_store, b"SELECT 1", login=False, headers=headers)
    assert reply.status in (401, 403)
    assert reply.code == 516


def test_the_password_is_not_taken_from_the_query_string(embedded_store):
    reply = ask(embedded_store, b"SELECT 1", login=False, user=embedded_store.user, password=embedded_store.password)
    assert reply.code == 516


def test_the_right_password_opens_in_either_form(embedded_store):
    headers = {"X-ClickHouse-User": embedded_store.user, "X-ClickHouse-Key": embedded_store.password}
    assert ask(embedded_store, b"SELECT 1", login=False, headers=headers).body == b"1\n"
    assert ask(embedded_store, b"SELECT 1").body == b"1\n"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", ""])
def test_a_name_that_is_not_ours_is_refused(embedded_store, host: str):
    reply = ask(embedded_store, b"SELECT 1", headers={"Host": host})
    assert reply.status in (400, 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:99", "[::1]:99"])
def test_names_of_this_machine_are_taken(embedded_store, host: str):
    assert ask(embedded_store, b"SELECT 1", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "null", "fetch"],
)
def test_web_pages_are_refused_and_get_no_permission(embedded_store, headers: dict[str, str]):
    reply = ask(embedded_store, b"SELECT 1", headers=headers)
    assert reply.status == 403
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert ask(embedded_store, method="OPTIONS", headers=headers).status == 405


def test_a_get_may_read(embedded_store):
    assert ask(embedded_store, method="GET", query="SELECT 1").body == b"1\n"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE default.by_get (a Int8) ENGINE Memory",
        "INSERT INTO default.by_get_only VALUES (1)",
        "DROP TABLE default.by_get_only",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_a_get_may_not_write(embedded_store, sql: str):
    ask(embedded_store, b"CREATE TABLE IF NOT EXISTS default.by_get_only (a Int8) ENGINE Memory")
    reply = ask(embedded_store, method="GET", query=sql)
    assert (reply.status, reply.code) == (403, 164)
    assert ask(embedded_store, method="GET", query=sql, readonly=0).code == 164
    assert ask(embedded_store, method="GET", query=sql, session_id="get").code == 164


def test_a_body_over_the_limit_is_refused(embedded_store):
    zeros = b"\0" * (1 << 20)
    parts = urlsplit(embedded_store.url)
    with socket.create_connection((parts.hostname, parts.port), 20) as connection:
        login = basic(embedded_store.user, embedded_store.password)["Authorization"]
        head = (
            f"POST /?query=INSERT+INTO+x+FORMAT+RowBinary HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {login}\r\nContent-Length: {300 << 20}\r\n\r\n"
        )
        connection.sendall(head.encode())
        try:
            for _ in range(300):
                connection.sendall(zeros)
        except OSError:
            pass  # it has heard enough
        answer = connection.recv(4096)
    assert b" 413 " in answer.splitlines()[0]
    assert b"X-ClickHouse-Exception-Code: 223" in answer


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(embedded_store):
    import zstandard

    bomb = zstandard.compress(b"\0" * (300 << 20))
    assert len(bomb) < 100_000
    query = "INSERT INTO x FORMAT RowBinary"
    reply = ask(embedded_store, bomb, query=query, headers={"Content-Encoding": "zstd"})
    assert (reply.status, reply.code) == (413, 223)


def test_native_compression_is_refused_with_what_is_spoken(embedded_store):
    reply = ask(embedded_store, b"SELECT 1", compress=1)
    assert (reply.status, reply.code) == (501, 48)
    assert b"gzip" in reply.body


def test_the_store_does_not_start_without_a_password(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PEARLSTREAM_STORE_PASSWORD", raising=False)
    assert main(["--path", str(tmp_path), "--port", "0"]) == 78
    assert "PEARLSTREAM_STORE_PASSWORD" in capsys.readouterr().err


def test_the_password_of_the_store_is_not_among_its_arguments(tmp_path):
    from deploy.embedded.store.launch import Store

    store = Store(tmp_path)
    assert not [word for word in store.child.spec.argv if store.password in word]
    assert store.password not in repr(store.child.spec)
    assert Store(tmp_path).password != store.password
