"""The launcher's program where nothing has been served yet; whole shows are in tests/faults."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from matinee_host.model import Config, ExitCode

Launch = Callable[..., subprocess.Popen[str]]


def test_the_status_before_the_first_start_is_whole(launch: Launch, config: Config) -> None:
    printed, said = launch("status").communicate(timeout=60)
    status = json.loads(printed)
    assert said == ""
    assert status.pop("since")
    assert status == {
        "state": "stopped",
        "step": "",
        "image": None,
        "digest": None,
        "version": None,
        "candidate": "",
        "reason": "The launcher has not run since this host booted.",
        "log": "",
        "good": [],
        "bad": [],
        "history": [],
        "visitors": 0,
        "show": {"stops_at": None, "idle_minutes": 0, "even_if_watched": False},
    }


def test_a_bad_configuration_ends_with_a_code_that_systemd_leaves_be(launch: Launch, config: Config) -> None:
    Path(config.state_directory, "bad.json").write_text('{"region": 1}')
    command = launch("--config", f"{config.state_directory}/bad.json", "run")
    _, said = command.communicate(timeout=60)
    assert command.returncode == ExitCode.BAD_CONFIG
    assert "bad.json cannot be used" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [[], ["backup"], ["show", "--hours", "two"]])
def test_wrong_arguments_are_said_to_be(arguments: list[str], launch: Launch) -> None:
    command = launch(*arguments)
    printed, said = command.communicate(timeout=60)
    assert (command.returncode, printed) == (2, "")
    assert "usage: matinee-host" in said
