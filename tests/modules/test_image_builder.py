"""The parts of image_builder that a push to this machine's engine does not show."""

import subprocess
import time
from pathlib import Path

import pytest
from ansible.module_utils import image_builder
from ansible.module_utils.image_builder import (
    BuilderError,
    Log,
    build,
    bytes_sent,
    find_builder,
)

LAYERS = [{"digest": f"sha256:{letter * 64}", "size": size} for letter, size in (("a", 10), ("b", 200))]
DIFF_IDS = (f"sha256:{'1' * 64}", f"sha256:{'2' * 64}")


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        ((), 0),
        (("2" * 12,), 200),
        (("1" * 12, "2" * 12), 210),
        (
            ("a" * 12, "b" * 12, "c" * 12),
            210,
        ),  # an engine with containerd names digests, the configuration too
    ],
)
def test_bytes_sent_are_those_of_the_layers_sent(sent: tuple[str, ...], size: int) -> None:
    assert bytes_sent(frozenset(sent), DIFF_IDS, LAYERS) == size


def test_missing_builder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuilderError, match=r"sudo apt install docker\.io docker-buildx"):
        find_builder()

    # As docker 28 answers without the plugin
    script = '#!/bin/sh\ntest "$1" = --version && echo "Docker version 28.2.2, build e6534b4"\n'
    (tmp_path / "docker").write_text(script)
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(BuilderError, match=r"lacks buildx.*sudo apt install docker-buildx"):
        find_builder()


def test_builder_of_this_machine_is_known_for_what_it_is() -> None:
    builder = find_builder()
    answer = subprocess.run([builder.docker, "buildx", "version"], check=False, capture_output=True)
    assert builder.has_buildx == (answer.returncode == 0)


def test_log_shows_life_while_a_build_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_builder, "SIGN_OF_LIFE", 0.01)
    path, limit = tmp_path / "log", time.monotonic() + 30
    with Log(path) as log, log.alive("building"):
        while b"still building" not in path.read_bytes():
            assert time.monotonic() < limit, "nothing was written"


def test_failed_build_gives_its_last_lines_without_signs_of_life(tmp_path: Path) -> None:
    script = "for n in $(seq 100); do echo line-$n; done; echo '[ecr_image] still building, for 5 s'; exit 3"
    with Log(tmp_path / "log") as log, pytest.raises(BuilderError) as failure:
        build(["sh", "-c", script], log)
    lines = str(failure.value).splitlines()[1:]
    assert lines == [f"line-{number}" for number in range(61, 101)]


def test_temporary_log_is_kept_only_after_a_failure() -> None:
    with Log(None) as log:
        log.say("done")
    assert not log.path.exists()

    with pytest.raises(BuilderError), Log(None) as log:
        build(["false"], log)
    assert log.path.exists()
    log.path.unlink()


def test_log_takes_over_a_file_without_following_a_link(tmp_path: Path) -> None:
    open_to_all, victim, link = tmp_path / "old", tmp_path / "victim", tmp_path / "link"
    open_to_all.write_text("old")
    open_to_all.chmod(0o666)
    with Log(open_to_all) as log:
        log.say("new")
    assert open_to_all.read_text() == "[ecr_image] new\n"
    assert open_to_all.stat().st_mode & 0o777 == 0o600

    victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(BuilderError, match="log_path"):
        Log(link)
    assert victim.read_text() == "precious"
