"""The proxy in front of the app: which container visitors reach, and how many do."""

import contextlib
import http.client
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from matinee_host.model import Config, LaunchError, replace_file

NGINX_PID = Path("/run/nginx.pid")
NONE = "none"
LIVE_TIMEOUT = 15  # seconds the proxy has to take a new configuration
SIGNAL_AGAIN = 1  # seconds after which it is told again: while it starts, a signal can be lost
ESTABLISHED = "01"
VISITED = ("0050", "01BB")  # ports 80 and 443


class Proxy:
    """The nginx of this host.

    Args:
        config: Where its configuration is, and where it answers.
    """

    def __init__(self, config: Config) -> None:
        self._file = Path(config.proxy_directory, "upstream.conf")
        self._front = config.proxy_front
        self._port = config.port

    def serving(self) -> str:
        """The id of the container which visitors are led to, or "none"."""
        try:
            return self._file.read_text().rpartition('default "')[2].partition('"')[0]
        except FileNotFoundError:
            return NONE

    def lead_to(self, address: str, container: str) -> None:
        """Lead visitors to a container, and wait until it is so.

        Args:
            address: The container's address.
            container: The container's id.

        Raises:
            LaunchError: The proxy does not take it.
        """
        self._write(f"{address}:{self._port}", container)
        started = signalled = time.monotonic()
        while self._live() != container:
            if time.monotonic() > started + LIVE_TIMEOUT:
                raise LaunchError("nginx does not take the new version: systemctl status nginx says why.")
            if time.monotonic() > signalled + SIGNAL_AGAIN:
                signalled = time.monotonic()
                self._signal()
            time.sleep(0.05)

    def hold(self) -> None:
        """Lead visitors to the holding page."""
        if self.serving() != NONE:
            self._write("127.0.0.1:9 down", NONE)

    def _write(self, server: str, container: str) -> None:
        text = (
            f'upstream app {{ server {server}; }}\nmap $hostname $app_release {{ default "{container}"; }}\n'
        )
        replace_file(self._file, text, mode=0o644)
        self._signal()

    @staticmethod
    def _signal() -> None:
        with contextlib.suppress(
            OSError, ValueError
        ):  # where it does not run, it reads the file when it starts
            os.kill(int(NGINX_PID.read_text()), signal.SIGHUP)

    def _live(self) -> str:
        connection = http.client.HTTPConnection(self._front, timeout=5)
        try:
            connection.request("GET", "/release")
            return connection.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()


def visitors(config: Config, address: str) -> int:
    """How many connections visitors have open; to the app, if one stays open while a page of it is shown.

    Args:
        config: The host's configuration.
        address: Of the container that serves; "" when none does.
    """
    if address and config.websocket_path:
        return connections(config, address)
    return sum(local.rpartition(":")[2] in VISITED for local, _ in _established())


def connections(config: Config, address: str) -> int:
    """How many connections visitors have open to a container, by way of nginx."""
    remotes = [remote for _, remote in _established()]
    # Each of this host's own questions to nginx has one to the container, too
    own = remotes.count(_hexadecimal(config.proxy_front))
    return max(0, remotes.count(_hexadecimal(f"{address}:{config.port}")) - own)


def _established() -> Iterator[tuple[str, str]]:
    """Give both ends of every open connection, in hexadecimal.

    Source: Linux, Documentation/networking/proc_net_tcp.rst.
    """
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == ESTABLISHED:
            yield local, remote


def _hexadecimal(end: str) -> str:
    address, _, port = end.partition(":")
    [number] = struct.unpack("=I", socket.inet_aton(address))
    return f"{number:08X}:{int(port):04X}"
