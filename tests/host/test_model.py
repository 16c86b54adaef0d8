"""What the host is told and remembers survives damage, and says what is wrong with it."""

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matinee_host.engine import last_good
from matinee_host.model import Config, ConfigError, Release, State, load_config, read_state, write_state

from tests.host.launcher import LAUNCHER

OLD, GOOD, NEW = (
    Release(f"registry/web@sha256:{name}", f"sha256:{name}", name) for name in ("old", "good", "new")
)


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    for state in (State(), State(NEW), State(NEW, GOOD)):
        write_state(tmp_path / "state.json", state)
        assert read_state(tmp_path / "state.json") == state


def test_a_release_that_was_healthy_becomes_the_current_one() -> None:
    assert State().after(GOOD) == State(GOOD)
    assert State(GOOD, OLD).after(NEW) == State(NEW, GOOD)


def test_the_same_release_again_keeps_the_previous_one() -> None:
    again = dataclasses.replace(GOOD, version="other label")
    assert State(GOOD, OLD).after(again) == State(again, OLD)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"current": 1, "previous": null}',
        b'{"current": {"a": 1}}',
    ],
)
def test_a_damaged_state_is_no_state(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(damage)
    assert read_state(tmp_path / "state.json") == State()
    write_state(tmp_path / "state.json", State(NEW))
    assert read_state(tmp_path / "state.json") == State(NEW)


def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_state(file, State(GOOD))
    program = (
        "import sys; from pathlib import Path; from matinee_host.model import *\n"
        "a, b = (State(Release(name * 20000, name, name)) for name in 'ab'); print(flush=True)\n"
        "while True: write_state(Path(sys.argv[1]), a); write_state(Path(sys.argv[1]), b)"
    )
    chance = random.Random(7)  # noqa: S311 - the same moments at each run
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(file)],
            env={"PYTHONPATH": str(LAUNCHER)},
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(timeout=chance.uniform(0.02, 0.1))
            writer.kill()
        assert json.loads(file.read_text())["current"]["digest"] in {"a", "b"}
        assert read_state(file) != State()


@pytest.mark.parametrize(
    ("state", "present", "expected"),
    [
        (State(NEW, GOOD), [NEW, GOOD], NEW),
        (State(NEW, GOOD), [GOOD], GOOD),
        (State(NEW, GOOD), [OLD], None),
        (State(NEW), [NEW], NEW),
        (State(), [NEW], None),
    ],
)
def test_the_last_good_image_which_is_still_there_is_chosen(
    state: State, present: list[Release], expected: Release | None
) -> None:
    assert last_good(state, {release.image for release in present}.__contains__) == expected


def test_a_configuration_is_read_as_it_was_written(config: Config, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps(dataclasses.asdict(config)))
    assert load_config(tmp_path / "host.json") == config


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"port": "8501"}, "port is not of the type int"),
        ({"port": True}, "port is not of the type int"),
        ({"region": None}, "region is not of the type str"),
        ({"memory": "three gigabytes"}, "three gigabytes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_configuration_names_what_is_bad(
    change: dict[str, Any], complaint: str, config: Config, tmp_path: Path
) -> None:
    (tmp_path / "host.json").write_text(json.dumps(dataclasses.asdict(config) | change))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(tmp_path / "host.json")
    assert str(tmp_path / "host.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"'])
def test_a_configuration_which_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(ConfigError, match="Configure the host again"):
        load_config(tmp_path / "host.json")
