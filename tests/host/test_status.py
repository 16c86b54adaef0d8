"""What the host says of itself, to whom."""

import dataclasses
import itertools
import socket
import stat
from pathlib import Path

import pytest
from matinee_host.model import Config, Release
from matinee_host.status import Status, message, read_status, report

HOSTILE = "<script>alert('1')</script><!--#include virtual=\"/etc/passwd\" -->&"
STATES = ("starting", "serving", "no-image", "failed", "stopped")
STEPS = ("", "looking", "pulling", "starting", "checking", "switching")


@pytest.mark.parametrize(("state", "step"), list(itertools.product(STATES, STEPS)))
def test_the_public_page_says_nothing_that_could_be_a_secret_or_a_script(state: str, step: str) -> None:
    status = Status(
        state, step, image="a", digest="b", version=HOSTILE, candidate=HOSTILE, reason="SECRET", log="SECRET"
    )
    said = message(status, HOSTILE)
    assert said.strip()
    assert "SECRET" not in said
    plain = said.replace("<code>", "").replace("</code>", "")
    assert not {"<", ">", '"', "'"} & set(plain)


def test_the_public_page_says_what_goes_on() -> None:
    pulling = Status("starting", "pulling", candidate="abc123")
    assert message(pulling, "web") == "Fetching version <code>abc123</code>."
    assert "not served" in message(dataclasses.replace(pulling, reason="It fell."), "web")
    assert "pushed to <code>web</code> yet" in message(Status("no-image"), "web")
    assert "No version can be served now" in message(Status("failed"), "web")
    assert "stopped" in message(Status("stopped"), "web")


def test_a_status_is_told_to_all(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status.serving(Release("image", "digest", "abc123"), "The newest fell.", "its last words")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        report(config, status)
        assert systemd.recv(4096) == b"STATUS=serving: abc123: The newest fell."
    assert read_status(config.status_file) == status
    assert stat.filemode(config.status_file.stat().st_mode) == "-rw-------"
    page = Path(config.proxy_directory, "message.html")
    assert stat.filemode(page.stat().st_mode) == "-rw-r--r--"
    assert page.read_text() == message(status, config.repository)


def test_before_the_first_start_it_is_stopped(tmp_path: Path) -> None:
    status = read_status(tmp_path / "status.json")
    assert (status.state, status.reason) == ("stopped", "The launcher has not run since this host booted.")
