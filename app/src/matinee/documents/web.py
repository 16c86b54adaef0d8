"""Fetch a web page or a file from the public internet, and from nowhere else.

Whoever may name an address to fetch could make the server read what only it can reach: its neighbours, its
own ports, its cloud's metadata. So each address is checked when it is connected to, on every redirect again.
"""

import codecs
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import certifi
import httpcore2
import httpx2

from matinee.documents.document import DocumentError
from matinee.documents.loading import SUFFIXES
from matinee.documents.names import safe_name

PORTS = (80, 443, 8080, 8443)
MAX_REDIRECTS = 5
SECONDS = 20.0  # for all of it

_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/json": ".json",
    "application/yaml": ".yaml",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
_UNTOLD = ("", "text/plain", "application/octet-stream", "binary/octet-stream")  # then the address tells
_HEADERS = (
    (b"User-Agent", b"Matinee"),
    (b"Accept", b"text/html, text/*, application/pdf, */*;q=0.5"),
    (b"Accept-Encoding", b"gzip"),
    (b"Connection", b"close"),
)
_NO_TEXT = (  # codecs for names of hosts, which take minutes for a page, and for source code
    "idna", "punycode", "unicode-escape", "raw-unicode-escape",
)  # fmt: skip
_ADDRESS = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_NAT64 = IPv6Network("64:ff9b::/96")

type Address = IPv4Address | IPv6Address
type Resolve = Callable[[str, int], Iterable[str]]


def fetch(url: str, max_bytes: int) -> tuple[str, bytes]:
    """Fetch what is at an address.

    Args:
        url: an http or https address on the public internet.
        max_bytes: the most that is read, unpacked.

    Returns:
        A file name with the suffix of what it is, and the data.

    Raises:
        DocumentError: if the address may not be read, cannot be, or holds nothing that Matinee reads.
    """
    return Fetcher().fetch(url, max_bytes)


def normalised(url: str) -> str:
    """Return an address as it is written in full: https unless it says otherwise, its host in lower case."""
    return _ADDRESS.sub(
        lambda part: f"{(part[1] or 'https').lower()}://{part[2].lower()}{part[3]}", url.strip(), count=1
    )


def resolve(host: str, port: int) -> Iterable[str]:
    """Return the addresses of a host."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: Address) -> bool:
    """Tell whether an address is on the public internet, as is the IPv4 address that an IPv6 one leads to."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Fetcher:
    """Fetches under rules.

    Args:
        allowed: networks which may be read although they are not public.
        ports: the only ports to connect to.
        seconds: the most that fetching may take.
        resolve: finds a host's addresses.
    """

    def __init__(
        self,
        allowed: Sequence[IPv4Network | IPv6Network] = (),
        ports: Sequence[int] = PORTS,
        seconds: float = SECONDS,
        resolve: Resolve = resolve,
    ) -> None:
        self._allowed = allowed
        self._ports = ports
        self._seconds = seconds
        self._resolve = resolve

    def fetch(self, url: str, max_bytes: int) -> tuple[str, bytes]:
        """Do what the function `fetch` says."""
        target = self._checked(normalised(url))
        backend = _PublicBackend(self._is_allowed, self._resolve, self._seconds)
        context = ssl.create_default_context(cafile=certifi.where())
        try:
            with httpcore2.ConnectionPool(ssl_context=context, network_backend=backend) as pool:
                for _ in range(MAX_REDIRECTS + 1):
                    with pool.stream("GET", _core_url(target), headers=_HEADERS) as response:
                        headers = httpx2.Headers(response.headers)
                        if response.status in (301, 302, 303, 307, 308) and "location" in headers:
                            target = self._checked(str(target.join(headers["location"])))
                            continue
                        _check_status(target, response.status)
                        name, charset = _name(target, headers.get("content-type", ""))
                        data = _read(target, response, headers.get("content-encoding", ""), max_bytes)
                        return name, _as_utf_8(data, charset)
        except (httpcore2.TimeoutException, TimeoutError):
            raise DocumentError(
                f"{target.host} did not send it all within {self._seconds:.0f} s. "
                "Try again later, or save it and upload the file."
            ) from None
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpx2.InvalidURL,
            zlib.error,
            OSError,
            ValueError,
        ):
            raise DocumentError(
                f"{target.host} cannot be read. Check the address, and whether a browser opens it."
            ) from None
        raise DocumentError(f"{target.host} redirects more than {MAX_REDIRECTS} times. Check the address.")

    def _checked(self, url: str) -> httpx2.URL:
        """Return an address that is fit to be connected to."""
        try:
            target = httpx2.URL(url.strip())
        except httpx2.InvalidURL:
            raise DocumentError("This is not a web address. It should begin with https://.") from None
        if target.scheme not in ("http", "https") or not target.host:
            raise DocumentError("Only addresses that begin with http:// or https:// can be fetched.")
        if target.userinfo:
            raise DocumentError("The address has a name or password in it. Only public pages can be fetched.")
        if _port(target) not in self._ports:
            raise DocumentError(
                f"The address has port {_port(target)}. Pages can be fetched from the ports "
                f"{', '.join(map(str, self._ports))} only."
            )
        return target

    def _is_allowed(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._allowed)


class _PublicBackend(httpcore2.NetworkBackend):
    """Connects to the very addresses it has checked, so that a name cannot change its meaning in between."""

    def __init__(self, is_allowed: Callable[[Address], bool], resolve: Resolve, seconds: float) -> None:
        self._is_allowed = is_allowed
        self._resolve = resolve
        self._deadline = time.monotonic() + seconds
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore2.NetworkStream:  # noqa: ANN401
        try:
            addresses = [ip_address(address) for address in self._resolve(host, port)]
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise DocumentError(f"There is no host called {safe_name(host)}. Check the address.")
        if not all(map(self._is_allowed, addresses)):
            raise DocumentError(
                f"{safe_name(host)} is in a private network. "
                "Only pages on the public internet can be fetched."
            )
        error: Exception = httpcore2.ConnectError()
        for address in addresses:
            try:
                stream = self._backend.connect_tcp(str(address), port, timeout=_left(self._deadline))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
            else:
                return _DeadlineStream(stream, self._deadline)
        raise error


class _DeadlineStream(httpcore2.NetworkStream):
    """A connection that ends at a deadline, however slowly the other side keeps it going."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _port(url: httpx2.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _core_url(url: httpx2.URL) -> httpcore2.URL:
    return httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _check_status(url: httpx2.URL, status: int) -> None:
    if status in (401, 403, 407):
        raise DocumentError(
            f"{url.host} refuses to show this page without a login. Save it and upload the file."
        )
    if status != 200:
        raise DocumentError(f"{url.host} answered with status {status}. Check the address.")


def _name(url: httpx2.URL, content_type: str) -> tuple[str, str]:
    """Return a name for what is sent, and its charset, "" if it is not told."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    name = safe_name(unquote(url.path)) if url.path.strip("/") else safe_name(url.host)
    suffix = PurePosixPath(name).suffix.lower() if url.path.strip("/") else ""
    if media_type not in _UNTOLD or suffix not in SUFFIXES:
        if media_type not in _SUFFIXES:
            shown = safe_name(media_type.replace("/", " ")) if media_type else "data of no known type"
            raise DocumentError(f"{url.host} sends {shown}, which Matinee does not read.")
        name = name if suffix == _SUFFIXES[media_type] else name + _SUFFIXES[media_type]
    is_text = media_type.startswith("text/") or media_type.endswith("xml")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return name, charset if is_text else ""


def _read(url: httpx2.URL, response: httpcore2.Response, encoding: str, max_bytes: int) -> bytes:
    """Read and unpack, never more than allowed."""
    if encoding.lower() not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise DocumentError(
            f"{url.host} sends it compressed in a way that was not asked for. Upload the file."
        )
    unpacker = None if encoding.lower() in ("", "identity") else zlib.decompressobj(wbits=47)  # either format
    data = bytearray()
    for chunk in response.iter_stream():
        data += unpacker.decompress(chunk, max_bytes + 1 - len(data)) if unpacker else chunk
        if len(data) > max_bytes:
            raise DocumentError(
                f"{url.host} sends more than {max_bytes / 1e6:,.1f} MB, which is the most that is read."
            )
    return bytes(data)


def _as_utf_8(data: bytes, charset: str) -> bytes:
    try:
        is_text = charset and codecs.lookup(charset).name not in _NO_TEXT
        return data.decode(charset).encode() if is_text else data
    except (LookupError, UnicodeError):
        return data  # it is not what it is told to be; loading finds out
