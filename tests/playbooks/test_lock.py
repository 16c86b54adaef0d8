"""Two runs against one stage at once, as two people start them; nobody waits for the dead."""

import contextlib
import os
import re
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkout import Checkout, words
from tests.interrupt import kill, signs_of_life, start
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
        self.process = start(checkout, *command)
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
        kill(self.process.pid)
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
    [sign] = signs_of_life(rehearsal)
    return int(sign.partition(" ")[2])


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


def test_the_accepted_price_is_stored_by_who_holds_it(rehearsal: Rehearsal, stage: Checkout) -> None:
    with at_work(stage):
        second = stage.play("playbooks/provision.yml", "-e", "wait=1")
    assert second.status != 0
    assert "is still at work on ragstream-demo" in words(second.output)
    stored = rehearsal.boto("ssm").describe_parameters()["Parameters"]
    assert not [one["Name"] for one in stored if not one["Name"].startswith(PATH)]


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


class Wire(socketserver.ThreadingTCPServer):
    """A way to the rehearsal that lets everything through, but holds a sign of life when it is told to."""

    daemon_threads = True
    SIGN = re.compile(rb"x-amz-target: AmazonSSM\.(AddTagsToResource|PutParameter)", re.IGNORECASE)

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.port = port
        self.holds, self.held, self.goes_on = threading.Event(), threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(socketserver.BaseRequestHandler):
    """Passes what comes by one connection on, both ways."""

    def handle(self) -> None:
        """Pass on what the client says, but for a sign that is to wait."""
        wire = self.server
        assert isinstance(wire, Wire)
        with socket.create_connection(("127.0.0.1", wire.port)) as aws:
            threading.Thread(target=self.pass_on, args=(aws, self.request), daemon=True).start()
            while data := self.request.recv(65536):
                if wire.holds.is_set() and wire.SIGN.search(data):
                    wire.held.set()
                    wire.goes_on.wait()
                aws.sendall(data)

    def pass_on(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what AWS answers."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def names(rehearsal: Rehearsal) -> list[str]:
    """Name the generations there are."""
    kept = rehearsal.boto("ssm").get_parameters_by_path(Path=PATH)["Parameters"]
    return [parameter["Name"] for parameter in kept]


@pytest.fixture
def short_lived(stage: Checkout) -> Iterator[Callable[[], None]]:
    """Have runs agree to less than the two minutes which they have in nature; calling it ends that."""
    settings = stage.path / "playbooks/tasks/lock.yml"
    as_it_is = settings.read_text()
    settings.write_text(as_it_is.replace("  register: lock\n", "    dead_after: 4\n  register: lock\n", 1))

    def end() -> None:
        settings.write_text(as_it_is)

    yield end
    end()


def test_run_that_slept_through_its_takeover_ends(
    rehearsal: Rehearsal, stage: Checkout, short_lived: Callable[[], None]
) -> None:
    """As if the machine slept: the signs of life stop, somebody takes over, then the run wakes up."""
    with at_work(stage) as first:
        short_lived()
        asleep = keeper(rehearsal)
        os.kill(asleep, signal.SIGSTOP)
        stage.passes("destroy.yml")  # leaves nothing, so that the next generation has the number of the first
        stage.passes("demo-stop.yml")
        os.kill(asleep, signal.SIGCONT)
        assert "has lost the stage's lock" in first.end()
        assert first.process.returncode != 0


def test_sign_of_life_that_comes_too_late_makes_nothing_anew(
    rehearsal: Rehearsal, stage: Checkout, short_lived: Callable[[], None]
) -> None:
    """As if the machine slept while it was being sent."""
    slow = Checkout(stage.path, stage.environment.copy())
    with Wire(rehearsal.port) as wire:
        threading.Thread(target=wire.serve_forever, daemon=True).start()
        slow.environment["AWS_ENDPOINT_URL_SSM"] = wire.address
        with at_work(slow) as first:
            short_lived()
            wire.holds.set()
            wire.held.wait()
            stage.passes("demo-stop.yml")
            taken_over = names(rehearsal)
            wire.goes_on.set()
            assert "has lost the stage's lock" in first.end()
        assert names(rehearsal) == taken_over
        wire.shutdown()
