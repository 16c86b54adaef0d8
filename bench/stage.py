"""The stage that figures are taken on: a rehearsal, a checkout of its own, and the host in it."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.registry import Registry
from tests.checkout import Checkout, make_checkout
from tests.local_aws import Rehearsal, free_port, standing

NAME = "matinee-bench"
REPOSITORY = "ragstream-web"

type Row = tuple[str, str, str]  # what was measured, its figure, what to know about it


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def wait_for(condition: Callable[[], bool], pause: float = 0.5) -> None:
    """Wait until something is so, for some minutes at most."""
    deadline = time.monotonic() + 180
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("What was waited for did not come; the output above may say why.")
        time.sleep(pause)


@dataclass(frozen=True)
class Stage:
    """A stage, set up or about to be."""

    rehearsal: Rehearsal
    checkout: Checkout
    registry: Registry

    @property
    def address(self) -> str:
        """The host's Elastic IP."""
        [found] = self.rehearsal.boto("ec2").describe_addresses()["Addresses"]
        return str(found["PublicIp"])

    @property
    def machine(self) -> dict[str, Any]:
        """What EC2 says of the host."""
        filters = [{"Name": "tag:ManagedBy", "Values": ["matinee"]}]
        [reservation] = self.rehearsal.boto("ec2").describe_instances(Filters=filters)["Reservations"]
        return dict(reservation["Instances"][0])

    @property
    def host(self) -> str:
        """The container that is the host."""
        return f"{self.rehearsal.name}-{self.machine['InstanceId']}"

    def on_host(self, *command: str) -> str:
        """Run a command on the host, as root; returns what it printed."""
        return output(["docker", "exec", self.host, *command])

    def launcher(self, *command: str) -> dict[str, Any]:
        """Have the launcher do something; returns what it says. It may fail."""
        done = subprocess.run(
            ["docker", "exec", self.host, "matinee-host", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return dict(json.loads(done.stdout))

    def wait_until_left(self) -> None:
        """Wait until nobody is left with an old version."""
        app = ["docker", "ps", "--quiet", "--filter", "label=matinee.app"]
        wait_for(lambda: len(self.on_host(*app).split()) <= 1)


def output(command: list[str]) -> str:
    """Run a command that must succeed; returns what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def empty_stage() -> Iterator[Stage]:
    """An account with nothing in it, for as long as it is used."""
    with (
        standing(NAME, free_port()) as rehearsal,
        tempfile.TemporaryDirectory() as folder,
        Registry(rehearsal) as registry,
    ):
        yield Stage(rehearsal, make_checkout(Path(folder), rehearsal.env), registry)
