"""Parameters come through a real shell as they are, and only the container's user can read them."""

import random
import stat
import subprocess
from pathlib import Path

import pytest
from matinee_host.engine import ENVIRONMENT_IN_CONTAINER, environment_text, wrapper, write_environment
from matinee_host.model import LaunchError

VALUES = [
    "",
    "plain",
    "two  words ",
    'it\'s "quoted"',
    "''''",
    "line one\nline two\n\n",
    "\n",
    "\r\n\t",
    "$HOME ${PATH} $(id) `id` $$ $'x'",
    "\\ \\n \\\\ \\'",
    "-n",
    "#not a comment",
    "a=b; rm -rf /tmp/x & echo | cat < > *?[]!~{}",
    "Grüße, 日本語, 🎭",
    "".join(chr(code) for code in range(1, 128)),
    "k" * 4096,
]


def through_a_shell(parameters: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of a program which is started as a container's is."""
    file = folder / "env"
    file.unlink(missing_ok=True)
    write_environment(file, parameters, uid=-1)
    entrypoint, arguments = wrapper(["/usr/bin/env", "-0"])
    entrypoint = [word.replace(ENVIRONMENT_IN_CONTAINER, str(file)) for word in entrypoint]
    output = subprocess.run(
        [*entrypoint, *arguments], env={}, check=True, capture_output=True
    ).stdout.decode()
    return dict(entry.split("=", 1) for entry in output.split("\0") if entry and not entry.startswith("PWD="))


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_through_as_it_is(value: str, tmp_path: Path) -> None:
    assert through_a_shell({"NAME": value}, tmp_path) == {"NAME": value}


def test_any_mixture_of_hard_characters_comes_through(tmp_path: Path) -> None:
    chance = random.Random(20261121)  # noqa: S311 - the same values at each run
    parameters = {f"_{i}": "".join(chance.choices("'\"\\$`!\n\r\t ;&|#*éß🎭a", k=40)) for i in range(500)}
    assert through_a_shell(parameters, tmp_path) == parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [("1ST", ""), ("A-B", ""), ("A B", ""), ("", ""), ("A\n", ""), ("É", ""), ("NUL", "a\0b")],
)
def test_what_no_environment_can_hold_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(LaunchError, match="cannot be an environment variable") as caught:
        environment_text({name: value})
    assert repr(name) in str(caught.value)


def test_the_file_is_for_its_owner_to_read(tmp_path: Path) -> None:
    write_environment(tmp_path / "env", {"NAME": "value"}, uid=-1)
    write_environment(tmp_path / "env", {"NAME": "other"}, uid=-1)
    assert stat.filemode((tmp_path / "env").stat().st_mode) == "-r--------"
    assert [path.name for path in tmp_path.iterdir()] == ["env"]
