"""The same release by Kamal: the same app, host and registry, in turns with ours."""

import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.stage import REPOSITORY, Row, Stage, timed

ROUNDS = 3
KAMAL = "kamal"  # a repository of its own
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"  # what hosts know the registry by
PASSWORD = "KAMAL_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable
HEALTH = "python3 -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:8501/health')\""
HEALTHY = {"health-cmd": HEALTH, "health-interval": "1s"}


def measure(stage: Stage) -> list[Row]:
    """Release by turns: Kamal, Kamal doing as little as it can, ours, and ours without Ansible."""
    stage.registry.create(KAMAL)
    stage.on_host("usermod", "--append", "--groups", "docker", "admin")
    ways: dict[str, tuple[str, Callable[[str], object]]] = {
        "deploy": (KAMAL, lambda version: kamal(stage, "deploy", version, HEALTHY)),
        "redeploy": (KAMAL, lambda version: kamal(stage, "redeploy", version, {})),
        "release": (REPOSITORY, lambda _: stage.checkout.passes("release.yml")),
        "ssh": (REPOSITORY, lambda _: ssh(stage, "sudo", "matinee-host", "release")),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):  # Kamal's first finds nothing to stop, and does not count
        for way, (repository, action) in ways.items():
            version = f"{way}-{number}"
            stage.registry.push_small_app(repository, version)
            times[way].append(timed(partial(action, version)))
            stage.wait_until_left()
    deploy, redeploy, release, alone = (statistics.median(seconds[1:]) for seconds in times.values())
    return [
        (
            "kamal deploy --skip-push",
            f"{deploy:.1f} s",
            f"median of {ROUNDS}; login, pull, start, healthy, stop the old, prune; nobody is led to it",
        ),
        (
            "kamal redeploy --skip-push, no health asked for",
            f"{redeploy:.1f} s",
            "the least it can take: the same without health and pruning",
        ),
        (
            "release.yml",
            f"{release:.1f} s",
            f"{release / deploy:.2f} × and {release / redeploy:.2f} ×; healthy, and visitors are led to it",
        ),
        (
            "ssh … sudo matinee-host release",
            f"{alone:.1f} s",
            f"{alone / deploy:.2f} × and {alone / redeploy:.2f} ×; the same without Ansible",
        ),
    ]


def ssh(stage: Stage, *command: str) -> None:
    """Run a command on the host, from here."""
    keys = stage.checkout.keys
    known_hosts = keys / f"known_hosts-{stage.machine['InstanceId']}"
    options = ["-i", str(keys / "id_ed25519"), "-o", f"UserKnownHostsFile={known_hosts}"]
    login = f"admin@{stage.address}"
    subprocess.run(["ssh", *options, login, *command], check=True, stdout=subprocess.DEVNULL)


def kamal(stage: Stage, command: str, version: str, options: dict[str, str]) -> None:
    """Have Kamal deploy a version that is in the registry.

    Its own proxy is an image that only the internet has, so its container goes without: nobody is led to it.
    """
    settings: dict[str, Any] = {
        "service": "small",  # as the label in bench/Dockerfile says
        "image": KAMAL,
        "servers": {"web": {"hosts": [stage.address], "proxy": False, "options": {"init": True} | options}},
        "readiness_delay": 0,  # of a container whose health nobody asks for
        "registry": {"server": ECR, "username": stage.registry.user, "password": [PASSWORD]},
        "builder": {"arch": "amd64"},
        "ssh": {"user": "admin", "keys": [str(stage.checkout.keys / "id_ed25519")], "keys_only": True},
        "logging": {"driver": "journald"},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config").mkdir()
        (folder / "config/deploy.yml").write_text(yaml.safe_dump(settings))
        (folder / ".kamal").mkdir()
        (folder / ".kamal/secrets").write_text(f"{PASSWORD}=${PASSWORD}\n")
        environment = stage.checkout.environment | {PASSWORD: stage.registry.password}
        arguments = ["kamal", command, "--skip-push", "--version", version]
        subprocess.run(arguments, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
