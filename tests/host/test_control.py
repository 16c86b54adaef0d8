"""Commands ask one after the other, and always learn what came of it."""

import contextlib
import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from matinee_host.control import Request, answer, ask, listen, receive
from matinee_host.model import Config, ExitCode, LaunchError

from tests.host.launcher import LAUNCHER

Launch = Callable[..., subprocess.Popen[str]]
DONE = {"exit_code": 0, "result": {"done": True}}
# Takes one request, says so, and does not answer
LAUNCHER_THAT_HANGS = """
import sys, time
from pathlib import Path
from matinee_host.control import listen, receive
with listen(Path(sys.argv[1])) as requests:
    print("listening", flush=True)
    connection, _ = requests.accept()
    print(receive(connection).action, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def requests(config: Config) -> Iterator[socket.socket]:
    """Where a launcher takes requests."""
    with listen(config.socket) as requests:
        requests.settimeout(60)
        yield requests


@contextlib.contextmanager
def asked(requests: socket.socket) -> Iterator[tuple[socket.socket, Request | None]]:
    """The next request."""
    connection, _ = requests.accept()
    with connection:
        yield connection, receive(connection)


def waits(command: subprocess.Popen[str], requests: socket.socket) -> str:
    """What a command says before it asks."""
    assert command.stderr
    ready, _, _ = select.select([command.stderr.fileno(), requests.fileno()], [], [], 60)
    assert ready == [command.stderr.fileno()]
    return command.stderr.readline()


def is_asked(requests: socket.socket) -> bool:
    """Whether somebody asks now."""
    return bool(select.select([requests], [], [], 0)[0])


def test_a_command_asks_as_it_is_told_and_prints_the_result(launch: Launch, requests: socket.socket) -> None:
    command = launch("show", "--by", "me", "--hours", "2.5", "--no-even-if-watched")
    with asked(requests) as (connection, request):
        assert request == Request("show", by="me", hours=2.5, even_if_watched=False)
        answer(connection, DONE)
    printed, said = command.communicate(timeout=60)
    assert (command.returncode, json.loads(printed), said) == (0, {"done": True}, "")


def test_a_failure_has_its_code_its_reason_and_the_last_words(
    launch: Launch, requests: socket.socket
) -> None:
    command = launch("release", "--again")
    with asked(requests) as (connection, request):
        assert request == Request("release", again=True)
        answer(connection, {"exit_code": 4, "reason": "It fell.", "log": "last words"})
    printed, said = command.communicate(timeout=60)
    assert command.returncode == ExitCode.BAD_IMAGE
    assert said == "It fell.\nlast words\n"
    status = json.loads(printed)
    assert (status["changed"], status["state"], status["good"]) == (False, "stopped", [])


def test_a_second_command_says_for_whom_it_waits_and_has_its_turn(
    launch: Launch, requests: socket.socket
) -> None:
    first = launch("backup", "--bucket", "b", "--by", "alice")
    with asked(requests) as (connection, _):
        second = launch("show", "--by", "bob")
        said = waits(second, requests)
        assert said.startswith(f"Waiting for the backup by alice (process {first.pid}, since ")
        assert not is_asked(requests)
        answer(connection, DONE)
    assert first.wait(60) == 0
    with asked(requests) as (connection, request):
        assert request == Request("show", by="bob")
        answer(connection, DONE)
    assert second.wait(60) == 0


def test_a_command_gives_up_after_its_patience_and_says_for_whom_it_waited(
    launch: Launch, requests: socket.socket
) -> None:
    first = launch("backup", "--bucket", "b", "--by", "alice")
    with asked(requests) as (connection, _):
        second = launch("rollback", "--wait", "0")
        printed, said = second.communicate(timeout=60)
        assert second.returncode == ExitCode.BUSY
        assert f"the backup by alice (process {first.pid}, since " in said
        assert "is not finished after 0 s" in said
        assert (json.loads(printed)["changed"], is_asked(requests)) == (False, False)
        answer(connection, DONE)
    assert first.wait(60) == 0


def test_a_command_that_is_killed_leaves_the_turn_to_the_next(
    launch: Launch, config: Config, requests: socket.socket
) -> None:
    killed = launch("backup", "--bucket", "b", "--by", "alice")
    with asked(requests) as (connection, _):
        second = launch("show")
        waits(second, requests)
        killed.kill()
        killed.wait(60)
        answer(connection, DONE)  # nobody is there to read it, and that does not matter
    with asked(requests) as (connection, request):
        assert request == Request("show")
        answer(connection, DONE)
    assert second.wait(60) == 0


def test_a_launcher_killed_in_the_middle_is_said_to_be(launch: Launch, config: Config) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER_THAT_HANGS, str(config.socket)],
        env={"PYTHONPATH": str(LAUNCHER)},
        stdout=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == "listening\n"
        command = launch("show")
        assert launcher.stdout.readline() == "show\n"
        launcher.kill()
    _, said = command.communicate(timeout=60)
    assert command.returncode == ExitCode.FAILED
    assert "The launcher ended in the middle" in said
    with pytest.raises(LaunchError, match="The launcher does not run"):
        ask(config, Request("show"), wait=0)
    with listen(config.socket):  # the next one takes its place
        pass


def test_without_a_launcher_it_is_said_where_to_look(launch: Launch) -> None:
    command = launch("release")
    printed, said = command.communicate(timeout=60)
    assert (command.returncode, json.loads(printed)["state"]) == (ExitCode.FAILED, "stopped")
    assert "The launcher does not run" in said
    assert "systemctl status matinee-app" in said


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{\n", b"[]\n", b'{"action": "show", "colour": 1}\n', b"\xff\n"]
)
def test_what_is_no_request_is_none(line: bytes, config: Config, requests: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(config.socket))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        with asked(requests) as (_, request):
            assert request is None


def test_only_the_owner_may_ask(config: Config, requests: socket.socket) -> None:
    assert config.socket.stat().st_mode & 0o777 == 0o600
