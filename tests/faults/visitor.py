"""Somebody who looks at the URL all the time, and writes down what he is shown."""

import http.client
import itertools
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType

INTERVAL = 0.05  # seconds between two requests
PATIENCE = 30  # seconds for an answer that is asked for when the fault is over
HOLDING_PAGE = b'http-equiv="refresh"'


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Attributes:
        asked: Monotonic time at which it was sent.
        ended: Monotonic time at which the answer was there.
        version: The version of the app that answered; "" if none did.
        trouble: What was wrong with the answer; "" for nothing.
    """

    asked: float
    ended: float
    version: str
    trouble: str

    @property
    def good(self) -> bool:
        """Whether the app did what was asked of it."""
        return bool(self.version) and not self.trouble


class Visitor:
    """Asks for the page, each time by a new connection; every fifth time writes a line.

    Args:
        address: Where the page is.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: list[Answer] = []
        self.acknowledged: set[str] = set()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)

    def __enter__(self) -> "Visitor":
        """Come."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._left.set()
        self._thread.join()

    def sees(self, version: str, seconds: float = 60) -> None:
        """Wait until the page is of this version, from now on.

        Raises:
            AssertionError: It was not within these seconds.
        """
        begun = time.monotonic()
        while not any(one.version == version and one.good and one.asked > begun for one in self.answers[-5:]):
            assert time.monotonic() < begun + seconds, f"{version} was not seen, but {self.story()}"
            time.sleep(INTERVAL)

    def get(self, path: str) -> str:
        """What a path answers, as soon as the app does."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status, _, body = self._ask("GET", path)
            if status == HTTPStatus.OK:
                return body.decode()
            assert time.monotonic() < deadline, f"{path} answers {status}"
            time.sleep(INTERVAL)

    @property
    def refused(self) -> list[Answer]:
        """The answers that were no good."""
        return [answer for answer in self.answers if not answer.good]

    def longest_wait(self) -> float:
        """Seconds between two good answers, at most."""
        times = [answer.ended for answer in self.answers if answer.good]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def story(self, before: str = "") -> str:
        """What was seen, in order, and how often.

        Args:
            before: The version which served at first.
        """

        def seen(answer: Answer) -> str:
            version = "old version" if answer.version == before else "another version"
            return " ".join(filter(None, [version if answer.version else "", answer.trouble]))

        runs = itertools.groupby(self.answers, seen)
        return ", ".join(f"{name} ({len(list(run))})" for name, run in runs)

    def lost(self) -> set[str]:
        """Lines that were acknowledged and are gone."""
        return self.acknowledged - set(self.get("/lines").split())

    def _visit(self) -> None:
        for number in itertools.count():
            asked = time.monotonic()
            version, trouble = self._try(number)
            self.answers.append(Answer(asked, time.monotonic(), version, trouble))
            if self._left.wait(max(0.0, asked + INTERVAL - time.monotonic())):
                return

    def _try(self, number: int) -> tuple[str, str]:
        line = f"{id(self):x}-{number}"
        try:
            if number % 5:
                status, version, body = self._ask("GET", "/")
            else:
                status, version, body = self._ask("POST", "/lines", line)
        except TimeoutError:
            return "", "no answer"
        except ConnectionRefusedError:
            return "", "refused"
        except (OSError, http.client.HTTPException):
            return "", "cut"
        if status == HTTPStatus.CREATED:
            self.acknowledged.add(line)
        if HOLDING_PAGE in body and status == HTTPStatus.SERVICE_UNAVAILABLE:
            return "", "holding page"
        return version, "" if status in (HTTPStatus.OK, HTTPStatus.CREATED) else str(status)

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=1)
        try:
            connection.connect()
            connection.sock.settimeout(10)
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers.get("X-Version", ""), response.read()
        finally:
            connection.close()
