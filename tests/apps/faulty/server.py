"""An app that says its version, keeps the lines it is given, and fails in the way its image was built for.

MODE is what it does: good; exits (at once); sick (never well); deaf (no websockets); dies, eats (all memory)
or broken (answers 500) a moment after it was well; odd (answers in ways that few expect).
"""

import base64
import contextlib
import hashlib
import os
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE, VERSION = os.environ["MODE"], os.environ["VERSION"]
LINES = Path("/data/lines")
WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
MOMENT = 2  # seconds

well_since: list[float] = []


def is_broken() -> bool:
    """Whether the moment after it was well is over, in an image that is to break then."""
    return MODE == "broken" and bool(well_since) and time.monotonic() > well_since[0] + MOMENT


def fail() -> None:
    """Do what the image was built for, a moment after the app was well."""
    while not well_since:
        time.sleep(0.1)
    time.sleep(MOMENT)
    if MODE == "dies":
        os._exit(3)
    if MODE == "eats":
        hoard = []
        while True:
            hoard.append(b"x" * 1_000_000)


class Handler(BaseHTTPRequestHandler):
    """Answers every request."""

    protocol_version = "HTTP/1.0" if MODE == "odd" else "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the version, with what is kept, or with digests of the environment's values."""
        if self.path == "/_stcore/stream" and MODE != "deaf":
            return self.hold()
        if self.path == "/health" and MODE == "sick":
            return self.answer(HTTPStatus.SERVICE_UNAVAILABLE, "sick")
        if is_broken():
            return self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, "broken")
        if self.path == "/health":
            well_since.append(time.monotonic())
            if MODE == "odd":
                return self.go_on()
        if self.path == "/_stcore/stream":
            return self.answer(HTTPStatus.NOT_FOUND, "deaf")
        if self.path == "/lines":
            return self.answer(HTTPStatus.OK, LINES.read_text() if LINES.exists() else "")
        if self.path == "/environment":
            values = {name: hashlib.sha256(os.environb[name]).hexdigest() for name in sorted(os.environb)}
            return self.answer(HTTPStatus.OK, "".join(f"{name.decode()} {values[name]}\n" for name in values))
        return self.answer(HTTPStatus.OK, VERSION)

    def do_POST(self) -> None:
        """Keep a line; it is on the disk when the answer is given."""
        line = self.rfile.read(int(self.headers["Content-Length"]))
        if is_broken():
            return self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, "broken")
        try:
            with LINES.open("ab") as file:
                file.write(b"\n" + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return self.answer(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        return self.answer(HTTPStatus.CREATED, VERSION)

    def answer(self, status: HTTPStatus, text: str) -> None:
        """Answer with a text."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def go_on(self) -> None:
        """Begin an answer that never ends."""
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"well\n")
                time.sleep(1)

    def hold(self) -> None:
        """Take a websocket and keep it until the visitor leaves."""
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET_KEY
        accept = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        self.close_connection = True
        self.rfile.read(1)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


if MODE == "exits":
    raise SystemExit("The model file is missing.")
threading.Thread(target=fail, daemon=True).start()
ThreadingHTTPServer(("", 8501), Handler).serve_forever()
