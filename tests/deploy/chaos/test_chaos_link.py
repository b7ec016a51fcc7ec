"""The cable: what it carries, what it exchanges, and what it does when it is cut or stalled."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from deploy.chaos.link import CHUNK, Address, Link


class Echo(socketserver.BaseRequestHandler):
    """Answers every message with itself."""

    def handle(self) -> None:
        while data := self.request.recv(CHUNK):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[Address]:
    """A server that says what it is told."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Address("127.0.0.1", server.server_address[1])
        server.shutdown()


@pytest.fixture
def links() -> Iterator[list[Link]]:
    made: list[Link] = []
    yield made
    for link in made:
        link.close()


def connected(link: Link) -> socket.socket:
    ours = link.addresses[link.targets[0]]
    return socket.create_connection(ours, 5)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read(stream: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := stream.recv(count - len(found))):
        found += data
    return found


def is_broken(stream: socket.socket) -> bool:
    """Whether the other side has gone, with or without a word."""
    try:
        return read(stream, 1) == b""
    except ConnectionError:
        return True


def test_bytes_go_through_in_both_directions(echo: Address, links: list[Link]) -> None:
    links.append(Link([echo], kafka=False))
    with connected(links[0]) as stream:
        stream.sendall(b"x" * 300_000)
        assert read(stream, 300_000) == b"x" * 300_000
    assert links[0].connections == 1


def test_an_address_in_an_answer_becomes_the_cables_own(echo: Address, links: list[Link]) -> None:
    links.append(Link([echo]))
    ours = links[0].addresses[echo]
    with connected(links[0]) as stream:
        stream.sendall(framed(b"before " + echo.wire + b" after"))
        answer = framed(b"before " + ours.wire + b" after")
        assert read(stream, len(answer)) == answer


def test_a_long_answer_is_left_alone(echo: Address, links: list[Link]) -> None:
    links.append(Link([echo]))
    records = framed(echo.wire + b"r" * (2 * CHUNK))
    with connected(links[0]) as stream:
        sender = threading.Thread(target=stream.sendall, args=(records,))
        sender.start()
        assert read(stream, len(records)) == records
        sender.join()


def test_a_cut_breaks_connections_and_refuses_new_ones_until_it_is_mended(echo: Address, links: list[Link]) -> None:
    links.append(Link([echo], kafka=False))
    with connected(links[0]) as stream:
        stream.sendall(b"a")
        assert read(stream, 1) == b"a"
        links[0].cut()
        assert is_broken(stream)
    with connected(links[0]) as stream:
        assert is_broken(stream)
    links[0].mend()
    with connected(links[0]) as stream:
        stream.sendall(b"c")
        assert read(stream, 1) == b"c"


def test_a_stalled_cable_keeps_what_it_was_given_and_brings_it_later(echo: Address, links: list[Link]) -> None:
    links.append(Link([echo], kafka=False))
    with connected(links[0]) as stream:
        stream.sendall(b"a")
        assert read(stream, 1) == b"a"
        links[0].stall()
        stream.sendall(b"b")
        stream.settimeout(0.2)
        with pytest.raises(TimeoutError):
            read(stream, 1)
        links[0].mend()
        stream.settimeout(5)
        assert read(stream, 1) == b"b"


def test_a_kafka_client_behind_a_cable_never_talks_past_it(embedded_broker: str, links: list[Link]) -> None:
    host, _, port = embedded_broker.partition(":")
    links.append(Link([Address(host, int(port))]))
    options = {"bootstrap_servers": links[0].address, "max_block_ms": 5_000, "acks": "all"}
    producer = KafkaProducer(**options)
    try:
        producer.send("chaos-link", b"one", partition=0).get(10)
        links[0].cut()
        lost = producer.send("chaos-link", b"two", partition=0)
        with pytest.raises(KafkaError):
            lost.get(1)
        links[0].mend()
        assert lost.get(30).offset == 1
    finally:
        producer.close()
