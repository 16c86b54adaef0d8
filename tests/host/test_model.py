"""What the host is told and remembers survives damage, and says what is wrong with it."""

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matinee_host.model import (
    HISTORY,
    Config,
    ConfigError,
    Event,
    Release,
    State,
    load_config,
    read_state,
    write_state,
)

from tests.host.launcher import LAUNCHER

OLD, GOOD, NEW = (
    Release(f"registry/web@sha256:{name}", f"sha256:{name}", name) for name in ("old", "good", "new")
)


def event(number: int) -> Event:
    """One of many events."""
    return Event("2026-11-21T10:00:00Z", "me", "release", "new", "sha256:new", "failed", str(number), 1.5)


def versions(state: State) -> list[str]:
    """The good versions, the best first."""
    return [good.version for good in state.good]


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State().with_good(NEW, 3).with_good(GOOD, 3).with_bad(OLD, 'It "fell":\n日本語')
    state = state.with_event(event(1))
    for written in (State(), state):
        write_state(tmp_path / "state.json", written)
        assert read_state(tmp_path / "state.json") == written


def test_what_serves_is_the_best_of_as_many_as_are_kept() -> None:
    state = State().with_good(OLD, 2).with_good(GOOD, 2).with_good(NEW, 2)
    assert versions(state) == ["new", "good"]
    assert all(good.at for good in state.good)
    assert versions(state.with_good(GOOD, 2)) == ["good", "new"]
    assert versions(state.with_good(NEW, 1)) == ["new"]


def test_the_same_image_again_is_no_other() -> None:
    again = dataclasses.replace(GOOD, version="other label")
    state = State().with_good(OLD, 3).with_good(GOOD, 3).with_good(again, 3)
    assert versions(state) == ["other label", "old"]


def test_a_release_is_good_or_bad_and_the_last_word_counts() -> None:
    fallen = (
        State().with_good(GOOD, 3).with_good(NEW, 3).with_bad(NEW, "It fell.").with_bad(NEW, "It fell again.")
    )
    assert versions(fallen) == ["good"]
    [mark] = fallen.bad
    assert fallen.mark(NEW.digest) == mark
    assert (mark.digest, mark.version, mark.reason) == (NEW.digest, "new", "It fell again.")
    assert fallen.mark(GOOD.digest) is None
    risen = fallen.with_good(NEW, 3)
    assert (versions(risen), risen.bad) == (["new", "good"], ())


def test_only_the_newest_marks_and_events_are_remembered() -> None:
    state = State()
    for number in range(HISTORY + 5):
        state = state.with_event(event(number)).with_bad(Release("", str(number), ""), "")
    assert [event.reason for event in state.history] == [str(number) for number in range(5, HISTORY + 5)]
    assert [mark.digest for mark in state.bad] == [str(number) for number in range(5, HISTORY + 5)]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"current": {"image": "a", "digest": "b", "version": "c"}, "previous": null}',
        b'{"good": 1, "bad": [], "history": []}',
        b'{"good": [1], "bad": [], "history": []}',
        b'{"good": [{"a": 1}], "bad": [], "history": []}',
        b'{"good": [], "bad": [{"digest": "a"}], "history": []}',
    ],
)
def test_a_damaged_state_is_no_state(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(damage)
    assert read_state(tmp_path / "state.json") == State()
    write_state(tmp_path / "state.json", State((NEW,)))
    assert read_state(tmp_path / "state.json") == State((NEW,))


def test_a_state_that_cannot_be_written_does_not_end_the_show(tmp_path: Path) -> None:
    write_state(tmp_path / "absent/state.json", State((NEW,)))
    assert read_state(tmp_path / "absent/state.json") == State()


def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_state(file, State((GOOD,)))
    program = (
        "import sys; from pathlib import Path; from matinee_host.model import *\n"
        "a, b = (State((Release(name * 20000, name, name),)) for name in 'ab'); print(flush=True)\n"
        "while True: write_state(Path(sys.argv[1]), a); write_state(Path(sys.argv[1]), b)"
    )
    chance = random.Random(7)  # noqa: S311 - the same moments at each run
    for _ in range(5):
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
        [good] = read_state(file).good
        assert good.digest in {GOOD.digest, "a", "b"}


def test_a_configuration_is_read_as_it_was_written(config: Config, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps(dataclasses.asdict(config)))
    assert load_config(tmp_path / "host.json") == config


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"port": "8501"}, "port is not of the type int"),
        ({"port": True}, "port is not of the type int"),
        ({"region": None}, "region is not of the type str"),
        ({"read_only": 1}, "read_only is not of the type bool"),
        ({"user": "app"}, "user is 'app', not a number"),
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


def test_a_configuration_that_lacks_something_is_refused(config: Config, tmp_path: Path) -> None:
    values = dataclasses.asdict(config)
    del values["drain_seconds"]
    (tmp_path / "host.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="drain_seconds"):
        load_config(tmp_path / "host.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"'])
def test_a_configuration_which_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(ConfigError, match="Configure the host again"):
        load_config(tmp_path / "host.json")
