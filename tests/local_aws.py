"""A rehearsal as the tests use it: made and taken away by its own commands."""

import configparser
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Rehearsal:
    """A local AWS.

    Attributes:
        name: Its name, the prefix of its containers.
        port: Port of its API on 127.0.0.1.
        dir: Folder of its files.
        env: Environment in which any AWS tool works on it.
    """

    name: str
    port: int
    dir: Path
    env: dict[str, str]

    def boto(self, service: str, **options: Any) -> Any:
        """A boto3 client, the administrator's unless options say otherwise."""
        credentials = configparser.ConfigParser()
        credentials.read(self.dir / "credentials")
        defaults = {"endpoint_url": f"http://127.0.0.1:{self.port}", "region_name": "eu-central-1"}
        make: Any = boto3.client
        return make(service, **{**defaults, **credentials["rehearsal"], **options})


def run_rehearsal(*arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m rehearsal` as a person would."""
    env = {**os.environ, "REHEARSAL_PORT": str(port or "")}
    command = [sys.executable, "-m", "rehearsal", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@contextmanager
def standing(name: str, port: int) -> Iterator[Rehearsal]:
    """A rehearsal that stands for as long as it is used."""
    try:
        up = run_rehearsal("up", "--name", name, port=port)
        assert up.returncode == 0, up.stderr
        folder = ROOT / ".rehearsal" / name
        activate = ["sh", "-c", '. "$1" && env -0', "sh", str(folder / "activate")]
        printed = subprocess.run(activate, capture_output=True, text=True, check=True).stdout
        env = dict(line.split("=", 1) for line in printed.split("\0") if line)
        yield Rehearsal(name, port, folder, env)
    finally:
        run_rehearsal("down", "--name", name)


def free_port() -> int:
    """A port of the loopback nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
