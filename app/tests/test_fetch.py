"""Fetching from the web: what is public is read, and nothing else is reached, however it is asked for."""

import gzip
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from files import HARBOUR, LIGHTHOUSE

from matinee.documents import DocumentError, load
from matinee.documents.web import Fetcher, fetch, is_public
from matinee.stores.truth import Outcome
from matinee.workspace import Workspace

LOOPBACK = (ip_network("127.0.0.0/8"),)
PAGE = f"<html><title>Coast</title><nav>menu</nav><p>{HARBOUR}</p></html>"
LIMIT = 1_000_000

type Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web server on this machine that answers each path as told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def fetcher(self, **rules: Any) -> Fetcher:
        """Return a fetcher that may read this site."""
        return Fetcher(**{"allowed": LOOPBACK, "ports": (80, 443, self.port), **rules})


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@contextmanager
def serve() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            with suppress(BrokenPipeError, ConnectionResetError):
                here.answers[self.path](self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    here = Site(server.server_port)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


def send(data: bytes, content_type: str = "text/html", status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def redirect(location: str) -> Answer:
    return send(b"", status=302, Location=location)


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(DocumentError) as error:
        fetcher.fetch(url, LIMIT)
    return str(error.value)


def test_a_page_is_fetched_and_read(site: Site) -> None:
    site.answers["/coast"] = send(PAGE.encode(), "text/html; charset=utf-8")
    name, data = site.fetcher().fetch(f"{site.url}/coast", LIMIT)
    assert name == "coast.html"
    assert load(name, data).text == f"# Coast\n\n{HARBOUR}"


@pytest.mark.parametrize(
    ("path", "content_type", "name"),
    [
        ("/", "text/html", "127.0.0.1.html"),
        ("/report", "application/pdf", "report.pdf"),
        ("/report.pdf?version=2", "application/octet-stream", "report.pdf"),
        ("/src/main.py", "text/plain", "main.py"),
        ("/a%2F..%2F..%2Fpasswd", "text/plain", "passwd.txt"),
        ("/index.php", "text/html; charset=utf-8", "index.php.html"),
    ],
)
def test_the_name_says_what_was_sent(site: Site, path: str, content_type: str, name: str) -> None:
    site.answers[path] = send(b"content", content_type)
    assert site.fetcher().fetch(site.url + path, LIMIT) == (name, b"content")


def test_text_is_decoded_as_the_server_says(site: Site) -> None:
    site.answers["/hafen"] = send("Größe".encode("cp437"), "text/plain; charset=cp437")
    assert site.fetcher().fetch(f"{site.url}/hafen", LIMIT) == ("hafen.txt", "Größe".encode())


@pytest.mark.parametrize("charset", ["punycode", "IDNA", "unicode_escape", "raw-unicode-escape"])
def test_what_is_no_encoding_of_text_is_not_used(site: Site, charset: str) -> None:
    data = "GrößeŁ".encode(charset)
    site.answers["/hafen"] = send(data, f"text/plain; charset={charset}")
    assert site.fetcher().fetch(f"{site.url}/hafen", LIMIT) == ("hafen.txt", data)


@pytest.fixture
def web(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """That site as coast.example, which the app takes for public; it speaks no TLS."""
    fetcher = site.fetcher(resolve=lambda *_: ["127.0.0.1"])
    monkeypatch.setattr("matinee.documents.web.Fetcher", lambda: fetcher)
    monkeypatch.setattr("matinee.documents.web._DeadlineStream.start_tls", lambda stream, **_: stream)
    return site


def test_pages_whose_addresses_lack_https_are_kept_under_them(web: Site, workspace: Workspace) -> None:
    host = f"coast.example:{web.port}"
    web.answers |= {"/About": send(PAGE.encode()), "/lamp": send(LIGHTHOUSE.encode(), "text/plain")}
    for path in ("About", "lamp"):
        added = workspace.add_url(f" Coast.Example:{web.port}/{path} ")
        assert (added.name, added.outcome) == (f"{host}/{path}", Outcome.ADDED)
    assert {(document.name, document.origin) for document in workspace.documents()} == {
        (f"{host}/About", f"https://{host}/About"),
        (f"{host}/lamp", f"https://{host}/lamp"),
    }


def test_a_page_fetched_again_takes_its_own_place_however_its_address_is_written(
    web: Site, workspace: Workspace
) -> None:
    host = f"coast.example:{web.port}"
    addresses = (
        f"{host}/about",
        f"https://{host}/about",
        f"http://{host}/about",
        f"HTTPS://www.Coast.example:{web.port}/about/",
    )
    for number, address in enumerate(addresses):
        web.answers["/about"] = web.answers["/about/"] = send(PAGE.replace("1874", f"190{number}").encode())
        added = workspace.add_url(address)
        assert added.name == f"{host}/about"
        assert added.outcome is (Outcome.REPLACED if number else Outcome.ADDED)
    [document] = workspace.documents()
    assert document.origin == f"https://www.{host}/about/"
    assert "1903" in workspace.text(document.id, 0, 1000)


def test_compressed_pages_are_unpacked(site: Site) -> None:
    site.answers["/coast"] = send(gzip.compress(PAGE.encode()), Content_Encoding="gzip")
    assert site.fetcher().fetch(f"{site.url}/coast", LIMIT)[1] == PAGE.encode()


def test_redirects_are_followed_a_few_times(site: Site) -> None:
    site.answers |= {"/old": redirect("/new"), "/new": send(PAGE.encode()), "/loop": redirect("/loop")}
    assert site.fetcher().fetch(f"{site.url}/old", LIMIT)[0] == "new.html"
    assert "redirects more than 5 times" in refusal(site.fetcher(), f"{site.url}/loop")
    assert site.asked.count("/loop") == 6


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.txt",
        "gopher://127.0.0.1/",
        "data:text/plain,x",
        "http://",
        "http://[::1",
        "http://user:secret@example.com/",
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://localhost:8501/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "https://192.168.1.1/",
    ],
)
def test_only_public_web_addresses_are_fetched(url: str) -> None:
    with pytest.raises(DocumentError) as error:
        fetch(url, LIMIT)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d822", True),  # NAT64 of a public address
        ("0.0.0.0", False),  # noqa: S104
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.0.8", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::1", False),
        ("2001:0:7f00:1::", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_what_a_public_address_is(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_this_machine_is_refused_and_not_even_asked(site: Site) -> None:
    site.answers["/"] = send(PAGE.encode())
    assert "private network" in refusal(Fetcher(ports=(site.port,)), site.url)
    assert site.asked == []


def test_a_redirect_into_a_private_network_is_refused(site: Site) -> None:
    with serve() as secret:
        secret.answers["/"] = send(b"the secret")
        site.answers["/"] = redirect(secret.url.replace("127.0.0.1", "127.0.0.2"))
        fetcher = site.fetcher(allowed=(ip_network("127.0.0.1/32"),), ports=(site.port, secret.port))
        assert "private network" in refusal(fetcher, site.url)
        assert secret.asked == []
    site.answers["/"] = redirect("file:///etc/passwd")
    assert "http" in refusal(site.fetcher(), site.url)
    assert site.asked == ["/", "/"]


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(site: Site) -> None:
    site.answers["/"] = send(b"the secret")
    answers = iter([["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]])  # first one that may be read

    def rebinding(_host: str, _port: int) -> Iterable[str]:
        return next(answers)

    fetcher = Fetcher((ip_network("192.0.2.0/24"),), (site.port,), seconds=0.5, resolve=rebinding)
    refusal(fetcher, f"http://rebind.example:{site.port}/")  # nobody is there
    assert "private network" in refusal(fetcher, f"http://rebind.example:{site.port}/")
    assert site.asked == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(site: Site) -> None:
    fetcher = Fetcher(ports=(site.port,), resolve=lambda *_: ["93.184.216.34", "127.0.0.1"])
    assert "private network" in refusal(fetcher, f"http://both.example:{site.port}/")


def test_the_site_is_asked_by_its_name_at_the_address_that_was_checked(site: Site) -> None:
    hosts = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        hosts.append(request.headers["Host"])
        send(PAGE.encode())(request)

    site.answers["/"] = answer
    site.fetcher(resolve=lambda *_: ["127.0.0.1"]).fetch(f"http://coast.example:{site.port}/", LIMIT)
    assert hosts == [f"coast.example:{site.port}"]


def test_a_proxy_named_in_the_environment_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.answers["/"] = send(PAGE.encode())
    assert site.fetcher().fetch(site.url, LIMIT)[1] == PAGE.encode()


def test_an_endless_page_is_cut_off(site: Site) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        send(b"")(request)
        while True:
            request.wfile.write(b"more and more " * 1000)

    site.answers["/"] = endless
    assert "more than 1.0 MB" in refusal(site.fetcher(), site.url)


def test_a_compressed_bomb_is_not_unpacked(site: Site) -> None:
    site.answers["/"] = send(gzip.compress(bytes(300_000_000), 1), Content_Encoding="gzip")
    assert "more than 1.0 MB" in refusal(site.fetcher(), site.url)


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_trickles_is_left(site: Site, part: str) -> None:
    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX: ")
        if part == "body":
            request.wfile.write(b"\r\n\r\n")
        while True:
            request.wfile.write(b"x")
            time.sleep(0.05)

    site.answers["/"] = trickle
    assert "did not send it all within" in refusal(site.fetcher(seconds=0.6), site.url)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (send(b"", status=404), "status 404"),
        (send(b"", status=403), "login"),
        (send(b"x", "image/png"), "image png, which Matinee does not read"),
        (send(b"x", "application/octet-stream"), "which Matinee does not read"),
        (send(b"x", Content_Encoding="br"), "compressed"),
        (send(b"no gzip", Content_Encoding="gzip"), "cannot be read"),
        (lambda request: request.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(site: Site, answer: Answer, message: str) -> None:
    site.answers["/"] = answer
    assert message in refusal(site.fetcher(), site.url)


def test_hosts_that_do_not_answer_are_said(site: Site) -> None:
    def no_name(_host: str, _port: int) -> Iterable[str]:
        raise OSError

    assert "no host called nowhere.example" in refusal(
        site.fetcher(resolve=no_name), "https://nowhere.example/"
    )
    assert "cannot be read" in refusal(site.fetcher(ports=(9,)), "http://127.0.0.1:9/")
    assert "cannot be read" in refusal(site.fetcher(), f"https://127.0.0.1:{site.port}/")
