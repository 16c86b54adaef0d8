"""What a push is compared with: docker's own, of the same image, to a repository beside it."""

import json
import os
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, run

from module_utils.image_builder import find_builder
from tests.local_aws import Rehearsal


class BarePush:
    """Pushes with nothing but `docker push`, after a login of its own.

    Args:
        rehearsal: the account that holds the registry.
    """

    REPOSITORY = "bare"

    def __init__(self, rehearsal: Rehearsal) -> None:
        ecr = rehearsal.boto("ecr")
        ecr.create_repository(repositoryName=self.REPOSITORY)
        login = ecr.get_authorization_token()["authorizationData"][0]
        self.registry = login["proxyEndpoint"].partition("://")[2]
        self.folder = tempfile.TemporaryDirectory()
        auths = {"auths": {self.registry: {"auth": login["authorizationToken"]}}}
        Path(self.folder.name, "config.json").write_text(json.dumps(auths))

    def push(self, root: Path, version: str) -> float:
        """Push the image that `push.yml` has just pushed; returns the seconds it took.

        Args:
            root: the checkout that `push.yml` ran in; its layers are in the build cache.
            version: the version that it pushed.
        """
        builder = find_builder()
        target = f"{self.registry}/{self.REPOSITORY}:latest"
        image = [
            "--build-arg",
            f"VERSION={version}",
            "--label",
            f"org.opencontainers.image.revision={version}",
        ]
        run(
            [
                builder.docker,
                "build",
                "--quiet",
                "--tag",
                target,
                *image,
                "--file",
                root / "Dockerfile",
                root / "app",
            ],
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            check=True,
        )
        environment = os.environ | {"DOCKER_CONFIG": self.folder.name}
        start = time.monotonic()
        run([builder.docker, "push", target], env=environment, check=True, stdout=DEVNULL)
        return time.monotonic() - start
