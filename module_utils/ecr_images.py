# SPDX-License-Identifier: Apache-2.0
"""The images of one repository of Amazon ECR, as its API tells of them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.build_context import is_version
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import RetryingBotoClientWrapper

MANIFEST_TYPES = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]


@dataclass(frozen=True)
class Tagged:
    """What a tag of the repository stands for."""

    digest: str
    tags: tuple[str, ...]

    @property
    def version(self) -> str | None:
        """The image's version, which is one of its tags."""
        return next(filter(is_version, self.tags), None)


@dataclass(frozen=True)
class Manifest:
    """What an image consists of, to the byte: its digest is the hash of this text."""

    text: str
    media_type: str

    @property
    def content(self) -> dict[str, Any]:
        """The manifest as data."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Registry:
    """Where images are pushed to, and with what. The password is valid for 12 hours."""

    url: str
    user: str
    password: str

    @property
    def host(self) -> str:
        """The registry as it is called in an image's name."""
        return self.url.split("//", 1)[1]

    @property
    def credentials(self) -> dict[str, str]:
        """What the Docker engine needs to push."""
        return {"username": self.user, "password": self.password}


class EcrRepository:
    """The API calls on one repository."""

    def __init__(self, client: RetryingBotoClientWrapper, name: str) -> None:
        self.client = client
        self.name = name

    def registry(self) -> Registry:
        """Ask for the registry that the repository is in, and for credentials."""
        answer = self.client.get_authorization_token(aws_retry=True)["authorizationData"][0]
        user, password = base64.b64decode(answer["authorizationToken"]).decode().split(":", 1)
        return Registry(answer["proxyEndpoint"].rstrip("/"), user, password)

    def find(self, tag: str) -> Tagged | None:
        """Find the image of a tag."""
        return self._find({"imageTag": tag})

    def find_digest(self, digest: str) -> Tagged | None:
        """Find the image of a digest."""
        return self._find({"imageDigest": digest})

    def manifest(self, digest: str) -> Manifest:
        """Get an image's manifest as ECR has it."""
        answer = self.client.batch_get_image(
            repositoryName=self.name,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=MANIFEST_TYPES,
            aws_retry=True,
        )
        image = answer["images"][0]
        text = image["imageManifest"]
        return Manifest(text, image.get("imageManifestMediaType") or json.loads(text)["mediaType"])

    def put(self, manifest: Manifest, digest: str, tag: str | None = None) -> None:
        """Make a manifest whose layers are there an image, and give it a tag, which another may have had.

        ECR refuses one whose digest is another.
        """
        try:
            self.client.put_image(
                repositoryName=self.name,
                imageManifest=manifest.text,
                imageManifestMediaType=manifest.media_type,
                imageDigest=digest,
                aws_retry=True,
                **({"imageTag": tag} if tag else {}),
            )
        except is_boto3_error_code("ImageAlreadyExistsException"):
            pass  # somebody else has just done the same

    def _find(self, identity: dict[str, str]) -> Tagged | None:
        try:
            answer = self.client.describe_images(
                repositoryName=self.name, imageIds=[identity], aws_retry=True
            )
        except is_boto3_error_code("ImageNotFoundException"):
            return None
        image = answer["imageDetails"][0]
        return Tagged(image["imageDigest"], tuple(sorted(image.get("imageTags", []))))


def missing_repository(repository: str, region: str | None) -> str:
    """Say what to do without the repository."""
    return (
        f"There is no ECR repository {repository} in region {region}. Create it with "
        "`ansible-playbook site.yml`, or correct the region."
    )
