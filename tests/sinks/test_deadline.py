"""A server that feeds its answer slowly: the time limit is for the whole request, whatever part is slow."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from sinks.deadline import limit
from sinks.http import HttpClient, trusted
from sinks.notification import DeliveryError
from sinks.public_only import PublicOnly

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
WHOLE = HEAD + b"ok"
EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
PAUSE_S = 0.1
TOTAL_S = 0.5


class DripServer:
    """Answers each request of a connection with the next of `answers`: (at once, then byte by byte with pauses)."""

    def __init__(self, *answers: tuple[bytes, bytes]) -> None:
        self._answers = answers
        self._gone = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener:
            client, _ = self._listener.accept()
            with client:
                for at_once, slowly in self._answers:
                    client.recv(1 << 16)
                    client.sendall(at_once)
                    for byte in slowly:
                        if self._gone.wait(PAUSE_S):
                            return
                        client.sendall(bytes([byte]))

    def close(self) -> None:
        self._gone.set()
        self._listener.close()
        self._thread.join()


@contextlib.contextmanager
def dripping(*answers: tuple[bytes, bytes]) -> Iterator[DripServer]:
    server = DripServer(*answers)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [(b"", WHOLE), (b"HTTP/1.1 200 OK\r\n", WHOLE[17:]), (HEAD, b"ok" * 20), (b"", EARLY * 2 + WHOLE)],
    ids=["its head", "its fields", "its body", "hints before it"],
)
def test_an_answer_that_comes_byte_by_byte_is_given_up_when_the_time_for_all_of_it_is_over(answer):
    at_once, slowly = answer
    if at_once == HEAD:
        at_once = HEAD.replace(b"2\r", b"40\r")
    with dripping((at_once, slowly)) as server, pytest.raises(DeliveryError) as raised:
        HttpClient("x", total=TOTAL_S).request("GET", server.url)
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)


def test_a_connection_that_was_well_before_is_limited_as_well():
    client = HttpClient("x", total=TOTAL_S)
    with dripping((WHOLE, b""), (b"", WHOLE)) as server:
        assert client.request("GET", server.url).body == b"ok"
        with pytest.raises(DeliveryError) as raised:
            client.request("GET", server.url)
    assert raised.value.code == "timeout"


def test_the_time_for_a_request_begins_with_that_request():
    client = HttpClient("x", total=TOTAL_S)
    slow = (WHOLE[:-3], WHOLE[-3:])
    with dripping(*[slow] * 3) as server:
        assert [client.request("GET", server.url).body for _ in range(3)] == [b"ok"] * 3


def test_a_proxy_that_answers_slowly_is_limited_as_well(monkeypatch):
    with dripping((b"", WHOLE)) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(DeliveryError) as raised:
            HttpClient("x", total=TOTAL_S).request("GET", "http://slow.invalid/")
    assert raised.value.code == "timeout"


def test_a_client_of_public_addresses_is_limited_as_well():
    client = HttpClient("x", total=TOTAL_S, public_only=True)
    here = PublicOnly(trusted(), resolve=lambda *_: ["127.0.0.1"], allowed=lambda found: found.is_loopback)
    limit(here.inner)
    client._client._transport = here
    with dripping((b"", WHOLE)) as server, pytest.raises(DeliveryError) as raised:
        client.request("GET", f"http://slow.invalid:{server.port}/")
    assert raised.value.code == "timeout"


def test_a_name_that_does_not_exist_is_trouble_on_the_network():
    with pytest.raises(DeliveryError) as raised:
        HttpClient("x").request("GET", "http://nowhere.invalid/")
    assert (raised.value.code, raised.value.retryable) == ("network", True)
