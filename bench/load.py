"""Visitors: they ask steadily, on new connections and on kept ones, and one stays with a websocket open."""

import http.client
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

PER_SECOND = 50
PATIENCE = 5  # seconds until an answer that is not there is a failure
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "bWF0aW5lZSBpcyB3ZWxsPw==",
    "Sec-WebSocket-Version": "13",
}
FAILURES = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    at: float  # monotonic, when it was there
    seconds: float
    version: str
    failure: str


class Load:
    """Fifty requests a second and one open websocket, for as long as the block lasts.

    Two of its four threads keep their connection. Where the server has closed that between two requests, they
    ask again on a new one, as every browser does; how often is counted.

    Args:
        address: The host's.
        path: What answers with the version.
        websocket_path: What takes websockets.
    """

    def __init__(self, address: str, path: str, websocket_path: str) -> None:
        self.address, self.path, self.websocket_path = address, path, websocket_path
        self.answers: list[Answer] = []
        self.renewed = 0
        self.sent_away: list[float] = []  # when the server closed the websocket
        self._over = threading.Event()
        work = (self._newcomers, self._regular, self._newcomers, self._regular)
        self._threads = [threading.Thread(target=target) for target in (*work, self._watcher)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
            time.sleep(1 / PER_SECOND)
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def first(self, version: str) -> float:
        """When a version answered for the first time."""
        return min(answer.at for answer in self.answers if answer.version == version)

    @property
    def failures(self) -> list[str]:
        """What was asked for and not given."""
        return [answer.failure for answer in self.answers if answer.failure]

    def described(self) -> str:
        """What was asked for."""
        seconds = [answer.seconds for answer in self.answers]
        return (
            f"of {len(seconds)} in {self.answers[-1].at - self.answers[0].at:.0f} s, "
            f"median {statistics.median(seconds) * 1000:.0f} ms, slowest {max(seconds) * 1000:.0f} ms; "
            f"idle connections closed: {self.renewed}"
        )

    def _beats(self) -> Iterator[None]:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            yield
            due += 4 / PER_SECOND

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=PATIENCE)

    def _newcomers(self) -> None:
        for _ in self._beats():
            with closing(self._connection()) as connection:
                self._ask(connection)

    def _regular(self) -> None:
        with closing(self._connection()) as connection:
            for _ in self._beats():
                self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        start, version, failure = time.monotonic(), "", ""
        try:
            version = self._get(connection)
        except FAILURES as error:
            failure = repr(error)
            connection.close()
        now = time.monotonic()
        self.answers.append(Answer(now, now - start, version, failure))

    def _get(self, connection: http.client.HTTPConnection) -> str:
        kept = connection.sock is not None
        try:
            connection.request("GET", self.path)
            response = connection.getresponse()
        except ConnectionError:
            if not kept:
                raise
            connection.close()
            self.renewed += 1
            return self._get(connection)
        body = response.read().decode()
        if response.status != HTTPStatus.OK:
            raise http.client.HTTPException(f"{response.status}: {body[:80]}")
        return body

    def _watcher(self) -> None:
        while not self._over.is_set():
            start = time.monotonic()
            with closing(self._connection()) as connection:
                try:
                    connection.request("GET", self.websocket_path, headers=UPGRADE)
                    if (status := connection.getresponse().status) != HTTPStatus.SWITCHING_PROTOCOLS:
                        raise http.client.HTTPException(f"{status} instead of a websocket")
                except FAILURES as error:
                    now = time.monotonic()
                    self.answers.append(Answer(now, now - start, "", repr(error)))
                    self._over.wait(0.5)
                    continue
                if self._watch(connection):
                    self.sent_away.append(time.monotonic())

    def _watch(self, connection: http.client.HTTPConnection) -> bool:
        """Stay until the server ends it; whether it did."""
        connection.sock.settimeout(0.2)
        while not self._over.is_set():
            try:
                if not connection.sock.recv(1024):
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
        return False
