"""What the command `up` tells the `aws` container."""

import os
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from .layout import Layout

ACCOUNT = "123456789012"
PARTITION = "aws"
REGISTRY_DATA = Path("/var/lib/registry")
AUTHORITY = Path("/tls/ca.crt")
ACME_ROOT = "https://acme:15000/roots/0"
RECORDS = Path("/zones/records")
ADMINISTRATOR = Path("/var/lib/rehearsal/administrator.json")
TRAIL = Path("/var/log/rehearsal/trail.jsonl")
GITHUB_KEY = Path("/var/lib/rehearsal/github.json")


@dataclass(frozen=True)
class Settings:
    """One rehearsal as its `aws` container knows it.

    Attributes:
        name: The rehearsal's name, which labels and prefixes all its containers.
        layout: Its addresses.
        privileged: Whether hosts run with all privileges (else with the capabilities a nested engine needs).
    """

    name: str
    layout: Layout
    privileged: bool

    @classmethod
    def from_environment(cls) -> Self:
        """Read what `up` set.

        Raises:
            KeyError: A variable is missing.
        """
        return cls(
            name=os.environ["REHEARSAL_NAME"],
            layout=Layout(
                IPv4Network(os.environ["REHEARSAL_VPC"]), IPv4Network(os.environ["REHEARSAL_INTERNET"])
            ),
            privileged=os.environ["REHEARSAL_PRIVILEGED"] == "yes",
        )
