"""Pushing to the registry from this machine."""

import base64
from typing import Any

import docker
from docker.models.images import Image

from tests.local_aws import Rehearsal


def log_in(rehearsal: Rehearsal, **identity: str) -> tuple[str, dict[str, str]]:
    """The registry's host, and what docker needs to log in."""
    data = rehearsal.boto("ecr", **identity).get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":")
    return data["proxyEndpoint"].removeprefix("http://"), {"username": user, "password": password}


def push(
    rehearsal: Rehearsal,
    engine: docker.DockerClient,
    image: Image,
    repository: str,
    tag: str,
    **identity: str,
) -> list[dict[str, Any]]:
    """Push; returns what the engine said, of which errors are a part."""
    registry, login = log_in(rehearsal, **identity)
    name = f"{registry}/{repository}"
    image.tag(name, tag)
    try:
        return list(engine.images.push(name, tag, auth_config=login, stream=True, decode=True))
    finally:
        engine.images.remove(f"{name}:{tag}")


def errors_in(said: list[dict[str, Any]]) -> str:
    """Why a push failed; nothing if it did not."""
    return " ".join(line["error"] for line in said if "error" in line)


def digest_of(said: list[dict[str, Any]]) -> str:
    """The digest of what was pushed."""
    assert not errors_in(said)
    return str(next(line["aux"]["Digest"] for line in said if "aux" in line))
