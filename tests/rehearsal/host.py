"""An emulated instance, seen from this machine: over ssh and over the API."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.local_aws import Rehearsal

DEBIAN = "136693071363"
"""The account Debian's machine images belong to."""

# Waiters ask every second: what they wait for takes a few
PATIENCE = {"Delay": 1, "MaxAttempts": 120}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something no API can be asked to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.2)


@dataclass(frozen=True)
class Host:
    """An emulated instance with an Elastic IP."""

    instance_id: str
    address: str
    allocation_id: str
    key: Path
    rehearsal: Rehearsal

    def run(self, command: str, stdin: str | None = None) -> str:
        """Run a shell command as admin, over ssh as soon as sshd answers; returns its output.

        Raises:
            ConnectionError: The host went away meanwhile, or never answered.
        """
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        patience = ("ConnectTimeout=2", "ConnectionAttempts=60", "BatchMode=yes")
        flags = [flag for option in (*options, *patience) for flag in ("-o", option)]
        result = subprocess.run(
            ["ssh", "-i", self.key, *flags, f"admin@{self.address}", command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 255:  # ssh's own failure, not the command's
            raise ConnectionError(result.stderr)
        assert result.returncode == 0, f"{command}: {result.stderr}{result.stdout}"
        return result.stdout.strip()

    def boot_id(self) -> str:
        """What tells one boot from another."""
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def wait(self, state: str) -> None:
        """Wait until the API calls the instance running, stopped or terminated."""
        waiter = self.rehearsal.boto("ec2").get_waiter(f"instance_{state}")
        waiter.wait(InstanceIds=[self.instance_id], WaiterConfig=PATIENCE)

    def describe(self) -> dict[str, Any]:
        """What the API says of the instance."""
        found = self.rehearsal.boto("ec2").describe_instances(InstanceIds=[self.instance_id])
        description: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return description

    def private_address(self) -> str:
        """The address in the VPC the API names."""
        return str(self.describe()["PrivateIpAddress"])

    def metadata(self, path: str) -> str:
        """What the metadata service says from within the host."""
        token = "$(curl -sfX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"
        return self.run(
            f'curl -sf -H "X-aws-ec2-metadata-token: {token}" http://169.254.169.254/latest/{path}'
        )
