#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: one run at a time for a stage."""

DOCUMENTATION = r"""
---
module: stage_lock
short_description: Let one run at a time work on a stage
description:
  - Takes a lock that is kept in SSM Parameter Store, for as long as the C(ansible-playbook) lives that runs
    this module. A small process beside it gives signs of life, and frees the lock when the run ends, in
    whatever way.
  - A run that holds the lock already keeps it.
  - Each holder has a generation of the lock, the parameter C(path/number), which only one can create, and
    which nobody writes again. A holder is dead that gives no sign of life for O(dead_after) seconds by the
    clock of AWS, or that is a process of this very machine which is gone; the next generation takes over. A
    run that has lost the lock so, because its machine slept for example, is interrupted.
  - A sign of life is a tag of the generation, named after its holder. AWS refuses to tag what is gone, so a
    sign that comes too late makes nothing anew, and one that meets another holder's generation says nothing.
  - In check mode the lock is looked at, not taken.
author:
  - The Matinee authors
options:
  path:
    description: Path of the lock, without a slash at the end.
    type: str
    required: true
  who:
    description: Who takes it, for whoever has to wait.
    type: str
    required: true
  doing:
    description: What the lock is taken for, for whoever has to wait.
    type: str
    required: true
  wait:
    description: Seconds to wait for a lock that somebody else holds.
    type: int
    default: 0
  dead_after:
    description: Seconds without a sign of life after which the holder counts as dead.
    type: int
    default: 120
  tags:
    description: Tags of the parameters.
    type: dict
    default: {}
  state:
    description:
      - With V(absent), the lock is freed and nothing of it is left. Only its holder can do that.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Standard parameters cost nothing.
  - Needs the rights C(ssm:GetParametersByPath), C(ssm:PutParameter), C(ssm:AddTagsToResource),
    C(ssm:ListTagsForResource) and C(ssm:DeleteParameters) on the path.
  - The controller must be Linux.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Work on the demo stage alone
  stage_lock:
    path: /ragstream/demo/lock
    who: ada
    doing: Provision
    wait: 900
  register: lock
  failed_when: not lock.held

- name: Leave nothing of it
  stage_lock:
    path: /ragstream/demo/lock
    who: ada
    doing: Destroy
    state: absent
"""

RETURN = r"""
held:
  description: Whether this run holds the lock. In check mode it never does.
  returned: success
  type: bool
holder:
  description: Who else holds it, if anybody does.
  returned: when somebody else does
  type: dict
  contains:
    who:
      description: Their name.
      type: str
    doing:
      description: What they took it for.
      type: str
    machine:
      description: Name of their machine.
      type: str
    since:
      description: Since when, by the clock of AWS.
      type: str
      sample: 2026-11-21 14:02 UTC
    seen:
      description: Seconds since the last sign of life.
      type: int
took_over:
  description: The dead holder from whom the lock was taken over, as in RV(holder).
  returned: when there was one
  type: dict
"""

import contextlib
import json
import os
import select
import signal
import socket
import time
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import batched
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

LOOK_AGAIN = 2  # seconds between two looks of who waits
SIGNS_OF_LIFE = 4  # in the time after which a holder counts as dead
DELETE_BATCH = 10  # names that one DeleteParameters call takes
FREE = "free"  # the last sign


@dataclass(frozen=True)
class Run:
    """A process of a machine, as it can be told from all others.

    Attributes:
        boot: The machine's start, and the namespace that process numbers are of.
        process: The process's number.
        started: When it was started, since a number is given again.
    """

    boot: str
    process: int
    started: str

    @classmethod
    def of(cls, process: int) -> "Run":
        """Describe a process of this machine; one that is gone has no start."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        try:
            started = stat_of(process)[19]
        except OSError:
            started = ""
        return cls(f"{boot}/{Path('/proc/self/ns/pid').readlink()}", process, started)

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this very machine and has ended."""
        now = Run.of(self.process)
        return now.boot == self.boot and now != self


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, as written into a generation of it; sign names the tag for their signs of life."""

    run: Run
    sign: str
    who: str
    doing: str
    machine: str
    since: str
    dead_after: int

    def as_text(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Holder":
        """Read what was written down, by another version of this module, too."""
        values = json.loads(text)
        known = {one.name: values.get(one.name, "") for one in fields(cls)}
        return cls(**known | {"run": Run(**values["run"])})


@dataclass(frozen=True)
class Generation:
    """One generation of the lock.

    Attributes:
        number: Its number.
        holder: Who has created it.
        seen: Seconds since their last sign of life.
        keeper: The process that gives them; 0 if there was none yet.
        free: Whether the last one said that the lock is free.
    """

    number: int
    holder: Holder
    seen: int
    keeper: int
    free: bool

    @property
    def is_dead(self) -> bool:
        """Whether its holder will not come back."""
        return self.seen > self.holder.dead_after or self.holder.run.is_gone

    def shown(self) -> dict[str, Any]:
        """Say whose it is."""
        holder = self.holder
        return {key: getattr(holder, key) for key in ("who", "doing", "machine", "since")} | {
            "seen": self.seen
        }


def stat_of(process: int) -> list[str]:
    """Return what the kernel says of a process, from its state on.

    Raises:
        OSError: It is gone. One that has ended and was not asked for its status is gone, too.
    """
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(process)
    return fields


def playbook_process() -> int:
    """Find the process of the playbook that runs this module: the first of those that are called alike."""
    found, command, process = os.getpid(), b"", os.getpid()
    while (process := int(stat_of(process)[1])) > 0:
        with contextlib.suppress(OSError):  # not ours to look at
            its_command = Path(f"/proc/{process}/cmdline").read_bytes()
            names = {part.rpartition(b"/")[2] for part in its_command.split(b"\0")[:2]}
            if its_command == command or (not command and b"ansible-playbook" in names):
                found, command = process, its_command
    return found


class Lock:
    """The lock as Parameter Store has it."""

    def __init__(self, client: RetryingBotoClientWrapper, path: str, tags: dict[str, str]) -> None:
        self.client = client
        self.path = path
        self.tags = {"Tags": ansible_dict_to_boto3_tag_list(tags)} if tags else {}

    def read(self) -> tuple[list[int], Generation | None, datetime]:
        """Return the numbers of all generations, the last one, and the time of AWS."""
        while True:
            found: dict[int, dict[str, Any]] = {}
            # A page may be empty without being the last
            for page in self.client.get_paginator("get_parameters_by_path").paginate(Path=self.path):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                found |= {int(one["Name"].rpartition("/")[2]): one for one in page["Parameters"]}
            if not found:
                return [], None, now
            last = max(found)
            with contextlib.suppress(is_boto3_error_code("InvalidResourceId")):  # removed meanwhile
                return sorted(found), self.describe(last, found[last], now), now

    def describe(self, number: int, parameter: dict[str, Any], now: datetime) -> Generation:
        """Tell of a generation who holds it, and what their signs of life say."""
        holder = Holder.from_text(parameter["Value"])
        listed = self.client.list_tags_for_resource(
            ResourceType="Parameter", ResourceId=f"{self.path}/{number}"
        )
        sign, _, keeper = (
            boto3_tag_list_to_ansible_dict(listed["TagList"]).get(holder.sign, "").partition(" ")
        )
        free = sign == FREE
        alive = datetime.fromisoformat(sign) if sign and not free else parameter["LastModifiedDate"]
        seen = max(0, int((now - alive).total_seconds()))
        return Generation(number, holder, seen, int(keeper or 0), free)

    def tag(self, number: int, holder: Holder, sign: str) -> bool:
        """Leave a sign at a generation; False if it is gone."""
        tags = ansible_dict_to_boto3_tag_list({holder.sign: sign})
        try:
            self.client.add_tags_to_resource(
                ResourceType="Parameter", ResourceId=f"{self.path}/{number}", Tags=tags
            )
        except is_boto3_error_code("InvalidResourceId"):
            return False
        return True

    def give_sign(self, number: int, holder: Holder, keeper: int, now: datetime) -> bool:
        """Give a sign of life; False if the generation is gone."""
        return self.tag(number, holder, f"{now.isoformat()} {keeper}")

    def renew(self, number: int, holder: Holder) -> bool:
        """Give a sign of life if the lock is still this holder's; False if it is not."""
        _, current, now = self.read()
        is_ours = current is not None and (current.number, current.holder) == (number, holder)
        return is_ours and self.give_sign(number, holder, os.getpid(), now)

    def free(self, number: int, holder: Holder) -> None:
        """Say that the lock is free."""
        self.tag(number, holder, FREE)

    def create(self, number: int, holder: Holder) -> bool:
        """Make a generation; only one of all who try can."""
        try:
            self.client.put_parameter(
                Name=f"{self.path}/{number}", Type="String", Value=holder.as_text(), **self.tags
            )
        except is_boto3_error_code("ParameterAlreadyExists"):
            return False
        return True

    def remove(self, numbers: list[int]) -> None:
        """Remove generations."""
        for batch in batched(numbers, DELETE_BATCH):
            self.client.delete_parameters(Names=[f"{self.path}/{number}" for number in batch])


def keep(lock: Lock, number: int, holder: Holder) -> None:
    """Give signs of life while the run lives, then free the lock."""
    ended = select.poll()
    ended.register(os.pidfd_open(holder.run.process), select.POLLIN)
    alive = time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps
    while not ended.poll(holder.dead_after * 1000 / SIGNS_OF_LIFE):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            lost = not lock.renew(number, holder)
            alive = now
        except (BotoCoreError, ClientError):
            lost = now - alive > holder.dead_after
        if lost:
            interrupt(holder)
            return
    for _ in range(SIGNS_OF_LIFE):
        with contextlib.suppress(BotoCoreError, ClientError):
            lock.free(number, holder)
            return
        time.sleep(LOOK_AGAIN)


def interrupt(holder: Holder) -> None:
    """End a run that has lost the lock, and say why where it says everything else."""
    why = "This run gave no sign of life for too long (did the machine sleep?) and has lost the stage's lock."
    with contextlib.suppress(OSError):
        Path(f"/proc/{holder.run.process}/fd/2").write_text(f"\n{why} It ends here: run it again.\n")
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder.run.process, signal.SIGINT)


def start_keeper(lock: Lock, number: int, holder: Holder) -> int:
    """Start the process that keeps the lock; it outlives this module, and the end of the run."""
    if child := os.fork():
        return child
    try:
        os.setsid()  # not interrupted with the run
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # whoever reads this module's output would wait for its end
            os.dup2(nowhere, stream)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        keep(lock, number, holder)
    finally:
        os._exit(0)


def stop_keeper(keeper: int) -> None:
    """End the process that keeps the lock, before it would take the lock for lost."""
    with contextlib.suppress(ProcessLookupError):
        watched = os.pidfd_open(keeper)
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        ended = select.poll()
        ended.register(watched, select.POLLIN)
        ended.poll()


def take(module: AnsibleAWSModule, lock: Lock, run: Run) -> dict[str, Any]:
    """Take the lock, or say who has it."""
    params = module.params
    give_up = time.monotonic() + params["wait"]
    while True:
        numbers, current, now = lock.read()
        if current and not current.free:
            if current.holder.run == run:
                if not current.keeper:  # it was created, but the answer did not come through
                    hold(module, lock, current.number, current.holder, now)
                return {"changed": False, "held": True}
            if not current.is_dead:
                if module.check_mode or time.monotonic() >= give_up:
                    return {"changed": False, "held": False, "holder": current.shown()}
                time.sleep(LOOK_AGAIN)
                continue
        if module.check_mode:
            return {"changed": False, "held": False}
        holder = Holder(
            run=run,
            sign=f"Seen-{uuid.uuid4()}",
            who=params["who"],
            doing=params["doing"],
            machine=socket.gethostname(),
            since=f"{now:%Y-%m-%d %H:%M} UTC",
            dead_after=params["dead_after"],
        )
        number = max(numbers, default=0) + 1
        if not lock.create(number, holder):
            continue  # somebody else was faster
        if max(lock.read()[0], default=0) > number:
            # Since we looked, this number was used and removed again
            lock.remove([number])
            continue
        lock.remove(numbers)
        hold(module, lock, number, holder, now)
        took_over = {"took_over": current.shown()} if current and not current.free else {}
        return {"changed": True, "held": True, **took_over}


def hold(module: AnsibleAWSModule, lock: Lock, number: int, holder: Holder, now: datetime) -> None:
    """Have a generation kept, and note by whom."""
    # With a client that nobody has used yet: connections cannot be shared
    keeper = start_keeper(Lock(module.client("ssm"), lock.path, {}), number, holder)
    lock.give_sign(number, holder, keeper, now)


def leave_nothing(module: AnsibleAWSModule, lock: Lock, run: Run) -> dict[str, Any]:
    """Remove the lock, if it is this run's or nobody's."""
    numbers, last, _ = lock.read()
    is_ours = last is not None and last.holder.run == run
    if last and not is_ours and not last.free and not last.is_dead:
        return {"changed": False, "held": False, "holder": last.shown()}
    if not module.check_mode:
        if last and is_ours and last.keeper:
            stop_keeper(last.keeper)
        lock.remove(numbers)
    return {"changed": bool(numbers), "held": False}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "who": {"type": "str", "required": True},
            "doing": {"type": "str", "required": True},
            "wait": {"type": "int", "default": 0},
            "dead_after": {"type": "int", "default": 120},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    client = module.client("ssm", retry_decorator=AWSRetry.jittered_backoff())
    lock = Lock(client, module.params["path"], module.params["tags"])
    act = take if module.params["state"] == "present" else leave_nothing
    try:
        result = act(module, lock, Run.of(playbook_process()))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
