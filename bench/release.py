"""Releases while visitors ask, and how soon it is known that an image is bad."""

import time

from bench.load import Load
from bench.stage import REPOSITORY, Row, Stage, timed


def measure(stage: Stage) -> list[Row]:
    """Release and roll back under load; without it, release images that serve and images that exit."""
    push = stage.registry.push_small_app
    push(REPOSITORY, "first")
    stage.checkout.passes("demo-start.yml")
    stage.wait_until_left()
    push(REPOSITORY, "second")
    return [
        *under_load(stage, "release.yml", "second"),
        *under_load(stage, "rollback.yml", "first"),
        *beside_the_launcher(stage, "good", "to its end"),
        *beside_the_launcher(stage, "exits", "of an image that exits at once, to the verdict"),
    ]


def under_load(stage: Stage, playbook: str, version: str) -> list[Row]:
    """Run a playbook under load, until the last visitor has left the old version."""
    with Load(stage.address, "/", "/_stcore/stream") as load:
        start = time.monotonic()
        stage.checkout.passes(playbook)
        end = time.monotonic()
        stage.wait_until_left()
    for failure in load.failures:
        print(f"{playbook}: {failure}")
    first = load.first(version)
    websocket = f"{load.sent_away[0] - first:.0f} s longer" if load.sent_away else "until the end"
    return [
        (f"{playbook} under load: failed requests", str(len(load.failures)), load.described()),
        (
            f"{playbook} under load: to the new version's first answer",
            f"{first - start:.1f} s",
            f"to its own end {end - start:.1f} s; the open websocket was left open {websocket}",
        ),
    ]


def beside_the_launcher(stage: Stage, mode: str, what: str) -> list[Row]:
    """Release two images of a kind, one with the playbook, one with nothing but the launcher."""
    stage.registry.push_small_app(REPOSITORY, f"{mode}-1", mode)
    start = time.monotonic()
    run = stage.checkout.play("release.yml")
    playbook = time.monotonic() - start
    assert (run.status == 0) == (mode == "good"), run.output  # noqa: S101 - or the figure means nothing
    stage.wait_until_left()
    stage.registry.push_small_app(REPOSITORY, f"{mode}-2", mode)
    launcher = timed(lambda: stage.launcher("release"))
    stage.wait_until_left()
    return [
        (f"release.yml {what}", f"{playbook:.1f} s", ""),
        (f"matinee-host release {what}", f"{launcher:.1f} s", "on the host, without Ansible"),
    ]
