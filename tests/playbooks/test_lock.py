"""Two runs against one stage at once, as two people start them; nobody waits for the dead."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkout import Checkout, words
from tests.local_aws import Rehearsal

PATH = "/ragstream/demo/lock"
# Takes the lock as every playbook does, then takes its time
AT_WORK = """
- name: Provision
  hosts: localhost
  gather_facts: false
  vars_files: [playbooks/vars/stage.yml]
  tasks:
    - ansible.builtin.import_tasks: playbooks/tasks/preflight.yml
    - ansible.builtin.import_tasks: playbooks/tasks/lock.yml
    - name: At work
      ansible.builtin.wait_for:
        path: "{{ root }}/done"
        timeout: 60
"""


class Running:
    """A playbook that runs; its output comes line by line."""

    def __init__(self, checkout: Checkout, *command: str) -> None:
        self.process = subprocess.Popen(
            ["ansible-playbook", *command],
            cwd=checkout.path,
            # Else a task is announced when it has ended
            env=checkout.environment | {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def until(self, text: str) -> None:
        """Read on until a text was printed."""
        for line in self.process.stdout or ():
            self.output += line
            if text in words(self.output):
                return
        raise AssertionError(f"{text!r} was never said:\n{self.output}")

    def end(self) -> str:
        """Read to the end; returns all that was printed."""
        self.output += self.process.stdout.read() if self.process.stdout else ""
        self.process.wait()
        print(self.output)
        return words(self.output)

    def kill(self) -> None:
        """Kill it with all its workers, as a power loss would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()


@pytest.fixture(scope="module")
def stage(checkout: Checkout) -> Checkout:
    """A stage with nothing in it."""
    (checkout.path / "work.yml").write_text(AT_WORK)
    return checkout


@contextmanager
def at_work(stage: Checkout, *arguments: str) -> Iterator[Running]:
    """Somebody's run that holds the lock, until it is let go on."""
    done = stage.path / "done"
    done.unlink(missing_ok=True)
    running = Running(stage, "work.yml", *arguments)
    try:
        running.until("TASK [At work]")
        yield running
    finally:
        done.touch()
        running.end()


def keeper(rehearsal: Rehearsal) -> int:
    """Return the number of the process that keeps the lock."""
    [parameter] = rehearsal.boto("ssm").get_parameters_by_path(Path=PATH)["Parameters"]
    found = re.search(r'"keeper": (\d+)', parameter["Value"])
    assert found
    return int(found[1])


def wait_for_end(process: int) -> None:
    """Wait until a process that is not ours has ended."""
    ended = threading.Event()
    while Path(f"/proc/{process}").exists():
        ended.wait(0.1)


def test_second_run_says_for_whom_it_waits_and_goes_on_afterwards(stage: Checkout) -> None:
    with at_work(stage) as first:
        second = Running(stage, "demo-stop.yml")
        second.until("TASK [Wait until that run has ended]")
        said = words(second.output)
        (stage.path / "done").touch()
        assert "failed=0" in first.end()
    assert re.search(
        r"administrator is at work on ragstream-demo \(Provision, on \S+, since [\d-]+ \d\d:\d\d UTC\)",
        said,
    )
    assert "nothing to stop" in second.end()
    assert second.process.returncode == 0


def test_waiting_has_an_end(stage: Checkout) -> None:
    with at_work(stage):
        second = stage.play("demo-stop.yml", "-e", "wait=1")
    assert second.status != 0
    assert "administrator is still at work on ragstream-demo (Provision" in words(second.output)
    assert "so nothing was done. Ask them" in words(second.output)


def test_check_mode_neither_takes_it_nor_waits(rehearsal: Rehearsal, stage: Checkout) -> None:
    with at_work(stage):
        held = rehearsal.boto("ssm").get_parameters_by_path(Path=PATH)["Parameters"]
        assert "nothing to stop" in stage.passes("demo-stop.yml", "--check").output
        after = rehearsal.boto("ssm").get_parameters_by_path(Path=PATH)["Parameters"]
        assert [one["Name"] for one in held] == [one["Name"] for one in after]


def test_run_that_is_killed_frees_it(rehearsal: Rehearsal, stage: Checkout) -> None:
    with at_work(stage) as first:
        kept_by = keeper(rehearsal)
        first.kill()
    wait_for_end(kept_by)
    run = stage.passes("demo-stop.yml")
    assert "at work" not in run.output
    assert "gives no sign of life" not in run.output


def test_dead_run_is_taken_over_from(rehearsal: Rehearsal, stage: Checkout) -> None:
    with at_work(stage) as first:
        os.kill(keeper(rehearsal), signal.SIGKILL)
        first.kill()
    run = stage.passes("demo-stop.yml")
    assert "(Provision, on" in words(run.output)
    assert "gives no sign of life any more: this run takes over" in words(run.output)


def test_run_that_slept_through_its_takeover_ends(rehearsal: Rehearsal, stage: Checkout) -> None:
    """As if the machine slept: the signs of life stop, somebody takes over, then the run wakes up."""
    settings = stage.path / "playbooks/tasks/lock.yml"
    as_it_is = settings.read_text()
    # Two minutes in nature; the run that sleeps has agreed to less
    settings.write_text(as_it_is.replace("  register: lock\n", "    dead_after: 4\n  register: lock\n", 1))
    with at_work(stage) as first:
        settings.write_text(as_it_is)
        asleep = keeper(rehearsal)
        os.kill(asleep, signal.SIGSTOP)
        stage.passes("demo-stop.yml")
        os.kill(asleep, signal.SIGCONT)
        assert "has lost the stage's lock" in first.end()
        assert first.process.returncode != 0
