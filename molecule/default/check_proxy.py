"""Prove what nginx does for visitors. Runs on the host as root, while nobody else leads them."""
# ruff: noqa: S101

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RUN = Path("/run/matinee-proxy")
TIMEOUT = 20


class Handler(BaseHTTPRequestHandler):
    """An app which says who it is and what it was asked."""

    protocol_version = "HTTP/1.1"
    server: "App"

    def do_GET(self) -> None:
        """Answer as the path says."""
        if self.headers["Upgrade"]:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            while line := self.rfile.readline():
                self.wfile.write(self.server.name.encode() + b" heard " + line)
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b"first")
            self.wfile.flush()
            self.server.arrived.wait(TIMEOUT)
            self.wfile.write(b", last")
        elif self.path == "/ill":
            self.answer(503, "ill", {"Content-Security-Policy": "default-src 'none'", "Retry-After": "77"})
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer(200, json.dumps({"name": self.server.name, "headers": headers}), {})

    def do_POST(self) -> None:
        """Say when the first half has arrived."""
        half = int(self.headers["Content-Length"]) // 2
        self.rfile.read(half)
        self.server.arrived.set()
        self.rfile.read(half)
        self.answer(200, "thanks", {})

    def answer(self, status: int, body: str, headers: dict[str, str]) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nobody listens."""


class App(ThreadingHTTPServer):
    """An app on a port of its own."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.arrived = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Visitors leave as they like."""


def connect(port: int = 80) -> http.client.HTTPConnection:
    """A visitor's connection."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)


def get(
    path: str = "/", headers: dict[str, str] | None = None, method: str = "GET", port: int = 80
) -> tuple[int, Message, str]:
    """What a visitor gets: status, headers, body."""
    with contextlib.closing(connect(port)) as connection:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def nginx() -> int:
    """The process which takes signals."""
    return int(Path("/run/nginx.pid").read_text())


def workers() -> set[str]:
    """The processes which take visitors."""
    command = ["pgrep", "--full", "^nginx: worker process$"]
    return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())


def lead_to(server: str, release: str) -> None:
    """Lead visitors elsewhere, and wait until it is so."""
    before = workers()
    new = RUN / "upstream.conf.new"
    new.write_text(
        f'upstream app {{ server {server}; }}\nmap $hostname $app_release {{ default "{release}"; }}\n'
    )
    new.replace(RUN / "upstream.conf")
    os.kill(nginx(), signal.SIGHUP)
    wait_until(lambda: get("/release", port=8090)[2] == release and before.isdisjoint(workers()))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; what fails meanwhile does not hold."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            if holds():
                return
        time.sleep(0.05)
    raise TimeoutError


def check_holding_page(path: str = "/", method: str = "GET") -> None:
    """The page is there, whole, and is not kept."""
    status, headers, body = get(path, method=method)
    assert status == 503, status
    assert (headers["Retry-After"], headers["Cache-Control"]) == ("2", "no-store")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Nothing is &lt;ready&gt;." in body
    assert '<meta http-equiv="refresh" content="2">' in body
    assert "<script" not in body


def check_somebody_answers_while_nothing_serves() -> None:
    """Whatever is asked, and after the worst."""
    (RUN / "message.html").write_text("Nothing is &lt;ready&gt;.")
    lead_to("127.0.0.1:9 down", "none")
    check_holding_page()
    check_holding_page("/upload", "POST")
    assert get("/.holding/page.html")[0] == 404
    killed = nginx()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: nginx() != killed and get()[0] == 503)
    lead_to("127.0.0.1:9", "gone")  # it is led to, and does not answer
    check_holding_page()


def check_answers_go_through(one: App) -> None:
    """The app learns who asks, and has the last word."""
    lead_to(f"127.0.0.1:{one.server_port}", "one")
    _, headers, body = get("/?a=b", {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"})
    seen = json.loads(body)["headers"]
    assert (seen["x-forwarded-for"], seen["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")
    assert (seen["host"], seen["x-forwarded-host"], seen["x-forwarded-proto"]) == (
        "127.0.0.1",
        "127.0.0.1",
        "http",
    )
    assert "forwarded" not in seen
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("SAMEORIGIN", "nosniff")
    assert (headers["Referrer-Policy"], headers["Server"]) == ("strict-origin-when-cross-origin", "nginx")
    assert "Strict-Transport-Security" not in headers
    status, headers, body = get("/ill")
    assert (status, body, headers["Retry-After"]) == (503, "ill", "77")
    assert headers.get_all("Content-Security-Policy") == ["default-src 'none'"]


def check_nothing_is_held_back(one: App) -> None:
    """Answers and uploads arrive while they are being sent; uploads have a limit."""
    with contextlib.closing(connect()) as connection:
        connection.request("GET", "/slow")
        response = connection.getresponse()
        assert response.read(5) == b"first"
        one.arrived.set()
        assert response.read() == b", last"
    one.arrived.clear()
    with contextlib.closing(connect()) as connection:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", "2000")
        connection.endheaders(b"x" * 1000)
        assert one.arrived.wait(TIMEOUT)
        connection.send(b"x" * 1000)
        assert connection.getresponse().status == 200
    assert get("/", {"Content-Length": str(201 * 2**20)}, "POST")[0] == 413


def check_visitors_stay_where_they_are(one: App, two: App) -> None:
    """A release leads new visitors to the new version; open websockets stay with the old one."""
    with (
        socket.create_connection(("127.0.0.1", 80), TIMEOUT) as tunnel,
        tunnel.makefile("rw", newline="\n") as stream,
    ):
        stream.write("GET / HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\n\n")
        stream.flush()
        assert stream.readline().startswith("HTTP/1.1 101")
        while stream.readline().strip():
            pass
        lead_to(f"127.0.0.1:{two.server_port}", "two")
        assert json.loads(get()[2])["name"] == "two"
        stream.write("hello\n")
        stream.flush()
        assert stream.readline() == "one heard hello\n"


def check_visits_are_in_the_journal() -> None:
    """Each with what is needed to understand it, none with its query."""
    get("/seen?secret=1", {"User-Agent": 'a "quoted" \\ agent'})
    journal = ["journalctl", "--identifier", "matinee_access", "--output", "cat", "--since", "-1min"]

    def visits() -> list[dict[str, object]]:
        lines = subprocess.run(journal, capture_output=True, text=True, check=True).stdout.splitlines()
        return [json.loads(line) for line in lines]

    wait_until(lambda: any(visit["uri"] == "/seen" for visit in visits()))
    *_, visit = [visit for visit in visits() if visit["uri"] == "/seen"]
    assert (visit["status"], visit["method"], visit["release"]) == (200, "GET", "two")
    assert (visit["address"], visit["agent"]) == ("127.0.0.1", 'a "quoted" \\ agent')
    assert "/release" not in {visit["uri"] for visit in visits()}


def check_one_address_has_its_limit() -> None:
    """A room full of people comes in; what no room would ask for is refused."""
    lead_to("127.0.0.1:9 down", "none")
    flood = ["curl", "--silent", "--parallel", "--output", "/dev/null", "--write-out", "%{http_code}\n"]
    done = subprocess.run([*flood, "http://127.0.0.1/?[1-6000]"], capture_output=True, text=True, check=True)
    answers = done.stdout.split()
    assert answers.count("503") >= 3000, answers.count("503")
    assert answers.count("503") + answers.count("429") == 6000


def main() -> None:
    """Check everything."""
    one, two = App("one"), App("two")
    check_somebody_answers_while_nothing_serves()
    check_answers_go_through(one)
    check_nothing_is_held_back(one)
    check_visitors_stay_where_they_are(one, two)
    check_visits_are_in_the_journal()
    check_one_address_has_its_limit()


main()
