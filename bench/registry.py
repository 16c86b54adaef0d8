"""What docker alone does with the rehearsal's registry: it is compared with, and small apps come by it."""

import base64
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Self

from module_utils.image_builder import find_builder
from tests.local_aws import ROOT, Rehearsal

SMALL_APP = ROOT / "tests/apps/faulty"
DOCKERFILE = ROOT / "bench/Dockerfile"


class Registry:
    """The registry, after one login. What was built for it is removed from this machine in the end.

    Args:
        rehearsal: The account that holds it.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.ecr = rehearsal.boto("ecr")
        login = self.ecr.get_authorization_token()["authorizationData"][0]
        self.name = login["proxyEndpoint"].partition("://")[2]
        self.user, _, self.password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
        self._docker = find_builder().docker
        self._built: set[str] = set()
        self._layers = itertools.count(1)
        self._folder = tempfile.TemporaryDirectory()
        auths = {"auths": {self.name: {"auth": login["authorizationToken"]}}}
        Path(self._folder.name, "config.json").write_text(json.dumps(auths))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        if self._built:
            run([self._docker, "image", "rm", "--force", *self._built], check=True, stdout=DEVNULL)

    def create(self, repository: str) -> None:
        """Make a repository."""
        self.ecr.create_repository(repositoryName=repository)

    def build(self, image: str, version: str, context: Path, *options: str) -> str:
        """Build an image.

        Args:
            image: Repository and tag to push it to.
            version: What its label says that it is.
            context: What it is built from.
            options: More options of docker build.

        Returns:
            What docker knows it by.
        """
        target = f"{self.name}/{image}"
        label = f"org.opencontainers.image.revision={version}"
        named = ["--tag", target, "--label", label, "--build-arg", f"VERSION={version}"]
        run(
            [self._docker, "build", "--quiet", *named, *options, str(context)],
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            check=True,
            stdout=DEVNULL,
        )
        self._built.add(target)
        return target

    def push(self, target: str) -> float:
        """Push an image; returns the seconds that it took."""
        environment = os.environ | {"DOCKER_CONFIG": self._folder.name}
        start = time.monotonic()
        run([self._docker, "push", target], env=environment, check=True, stdout=DEVNULL)
        return time.monotonic() - start

    def push_small_app(self, repository: str, version: str, mode: str = "good") -> None:
        """Push a version of an app that starts at once, as the newest."""
        layer = f"LAYER={next(self._layers)}"  # the next run finds it in the build cache
        options = ["--file", str(DOCKERFILE), "--build-arg", layer, "--build-arg", f"MODE={mode}"]
        for tag in (version, "latest"):
            self.push(self.build(f"{repository}:{tag}", version, SMALL_APP, *options))
