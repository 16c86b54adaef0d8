"""Playbooks killed half way, as a power loss would, and what an account holds after that."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkout import Checkout
from tests.local_aws import Rehearsal

TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(.+?)\] \*")
# What an empty account has, and what is no harm: a terminated instance is listed for a while
NOT_OURS = {"administrator", "default", "resource-groups"}


@dataclass(frozen=True)
class Killed:
    """A run that was killed, or came to its end.

    Attributes:
        after: The last task that ended, and that changed something; empty if the run came to its end.
        status: Its exit status.
        output: What it printed.
    """

    after: str
    status: int
    output: str


def start(checkout: Checkout, playbook: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a playbook; its output can be read as it comes."""
    return subprocess.Popen(
        ["ansible-playbook", playbook, *arguments],
        cwd=checkout.path,
        # Else a task is announced when it has ended
        env=checkout.environment | {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def push_until(checkout: Checkout, said: str) -> int:
    """Kill push.yml when its log says something; returns its exit status. It may end before."""
    log = checkout.path / ".matinee/push.log"
    log.unlink(missing_ok=True)
    running = start(checkout, "push.yml")
    while running.poll() is None:
        if log.exists() and said in log.read_text(errors="replace"):
            kill(running.pid)
    return running.wait()


def run_until_changes(checkout: Checkout, playbook: str, *arguments: str, changes: int) -> Killed:
    """Run a playbook and kill it with all its workers when so many of its tasks have changed something.

    It is killed when the next task is announced, which may have begun by then.
    """
    running = start(checkout, playbook, *arguments)
    output, task, changed = "", "", []
    for line in running.stdout or ():
        output += line
        print(line, end="")
        if line.startswith("changed: [") and task not in changed:
            changed.append(task)
        if found := TASK.match(line):
            if len(changed) == changes:
                kill(running.pid)
                running.wait()
                return Killed(changed[-1], running.returncode, output)
            task = found[1]
    return Killed("", running.wait(), output)


def kill(process: int) -> None:
    """Kill a process and all that it has started and still has; it can start nothing more meanwhile."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
        os.kill(process, signal.SIGSTOP)
        for child in list(children(process)):
            kill(child)
        os.kill(process, signal.SIGKILL)


def children(process: int) -> Iterator[int]:
    """Name the processes that a process has started."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())


def chain(checkout: Checkout, playbook: str, *arguments: str, changes: int = 1) -> list[Killed]:
    """Kill each run when it has changed so much, and let the next go on over what it left; until one ends.

    What is done again in each run because the one before was killed is let pass after the first time.
    """
    killed: list[Killed] = []
    while (run := run_until_changes(checkout, playbook, *arguments, changes=changes)).after:
        changes += run.after in [one.after for one in killed]
        killed.append(run)
    assert run.status == 0, run.output[-4000:]
    return killed


def signs_of_life(rehearsal: Rehearsal, stage: str = "demo") -> list[str]:
    """What the holders of a stage's lock said last: the time and their keeper's number, or "free"."""
    ssm = rehearsal.boto("ssm")
    kept = ssm.get_parameters_by_path(Path=f"/ragstream/{stage}/lock")["Parameters"]
    listed = [ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=one["Name"]) for one in kept]
    tags = [tag for one in listed for tag in one["TagList"]]
    return [tag["Value"] for tag in tags if tag["Key"].startswith("Seen-")]


def holdings(rehearsal: Rehearsal) -> dict[str, int]:
    """Count all that an account holds, whatever tags or names it has; what there is none of is left out."""
    ec2, iam = rehearsal.boto("ec2"), rehearsal.boto("iam")
    instances = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    users = names(iam.list_users()["Users"], "UserName")
    found = {
        "instance": [i for i in instances if i["State"]["Name"] != "terminated"],
        "volume": ec2.describe_volumes()["Volumes"],
        "elastic-ip": ec2.describe_addresses()["Addresses"],
        "security-group": names(ec2.describe_security_groups()["SecurityGroups"], "GroupName"),
        "key-pair": ec2.describe_key_pairs()["KeyPairs"],
        "user": users,
        "access-key": [
            key for user in users for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        ],
        "role": names(iam.list_roles()["Roles"], "RoleName"),
        "instance-profile": iam.list_instance_profiles()["InstanceProfiles"],
        "oidc-provider": iam.list_open_id_connect_providers()["OpenIDConnectProviderList"],
        "repository": rehearsal.boto("ecr").describe_repositories()["repositories"],
        "parameter": [
            one
            for one in rehearsal.boto("ssm").describe_parameters()["Parameters"]
            if "/lock/" not in one["Name"]
        ],
        "bucket": rehearsal.boto("s3").list_buckets()["Buckets"],
        "topic": rehearsal.boto("sns").list_topics()["Topics"],
        "alarm": rehearsal.boto("cloudwatch").describe_alarms()["MetricAlarms"],
        "log-group": rehearsal.boto("logs").describe_log_groups()["logGroups"],
    }
    return {kind: len(those) for kind, those in found.items() if those}


def names(those: list[dict[str, Any]], key: str) -> list[str]:
    """Name what was not there from the beginning."""
    return [
        one[key] for one in those if one[key] not in NOT_OURS and not one[key].startswith("AWSServiceRole")
    ]
