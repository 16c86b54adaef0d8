"""The disk of the host, over many releases."""

import json
import re
import time

from bench.stage import REPOSITORY, Row, Stage, wait_for

RELEASES = 20
KEPT = 3  # images that a host keeps; the others go once a release has held for a minute
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def measure(stage: Stage) -> list[Row]:
    """Release again and again, each time with a layer of ten megabytes that no other version has."""
    start = time.monotonic()
    used = [release(stage, number) for number in range(1, RELEASES + 1)]
    seconds = time.monotonic() - start
    wait_for(lambda: len(stage.on_host("docker", "images", "--quiet").split()) <= KEPT)
    return [
        (
            f"disk used after each of {RELEASES} releases with 10 MB of their own",
            f"{used[-1]:.0f} MB",
            f"one every {seconds / RELEASES:.0f} s: " + " ".join(f"{megabytes:.0f}" for megabytes in used),
        ),
        (
            "disk used when the last has held for a minute",
            f"{megabytes(stage):.0f} MB",
            f"{KEPT} versions, {time.monotonic() - start - seconds:.0f} s after the last release",
        ),
    ]


def release(stage: Stage, number: int) -> float:
    """Release one more version; returns the megabytes that are used then."""
    version = f"disk-{number}"
    stage.registry.push_small_app(REPOSITORY, version)
    status = stage.launcher("release")
    assert status["version"] == version, status["reason"]  # noqa: S101 - or the figure means nothing
    stage.wait_until_left()
    return megabytes(stage)


def megabytes(stage: Stage) -> float:
    """What images, containers and the launcher's folder take on the host."""
    lines = stage.on_host("docker", "system", "df", "--format", "{{json .}}").splitlines()
    docker = sum(to_bytes(json.loads(line)["Size"]) for line in lines)
    folder = int(stage.on_host("du", "--summarize", "--bytes", "/var/lib/matinee").split()[0])
    return (docker + folder) / 1e6


def to_bytes(size: str) -> float:
    """Read a size as docker writes it."""
    number, unit = re.fullmatch(r"([\d.]+)([kMG]?B)", size).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]
