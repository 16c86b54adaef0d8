"""What the host asks of AWS, as its instance's role."""

import base64
import contextlib
import dataclasses
from collections.abc import Iterator

import boto3
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from matinee_host.model import LaunchError

MANIFEST_TYPES = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]


class CloudError(LaunchError):
    """AWS did not answer, or refused."""


@dataclasses.dataclass(frozen=True)
class Registry:
    """Where images are pulled from, and with what. The password is good for twelve hours."""

    host: str
    auth: dict[str, str] = dataclasses.field(repr=False)


class Cloud:
    """The AWS services which hold the images and the parameters.

    Args:
        region: The region of both.
    """

    def __init__(self, region: str) -> None:
        core = botocore.session.Session()
        # The metadata service can be slow in a host's first seconds; by default it is asked once, for 1 s.
        core.set_config_variable("metadata_service_timeout", 2)
        core.set_config_variable("metadata_service_num_attempts", 3)
        session = boto3.Session(botocore_session=core, region_name=region)
        patience = ClientConfig(
            connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3}
        )
        self._ecr = session.client("ecr", config=patience)
        self._ssm = session.client("ssm", config=patience)

    def newest_digest(self, repository: str) -> str | None:
        """The digest of the image pushed last, which is tagged `latest`; None when there is none yet.

        Raises:
            CloudError: ECR did not answer, or refused.
        """
        with cloud_errors("ECR cannot be asked for the newest image"):
            answer = self._ecr.batch_get_image(
                repositoryName=repository,
                imageIds=[{"imageTag": "latest"}],
                acceptedMediaTypes=MANIFEST_TYPES,  # or ECR may answer for a translation of the manifest
            )
        return answer["images"][0]["imageId"]["imageDigest"] if answer["images"] else None

    def registry(self) -> Registry:
        """The registry behind ECR and a login for it, which is kept in memory only.

        Raises:
            CloudError: ECR did not answer, or refused.
        """
        with cloud_errors("ECR gives no login"):
            [login] = self._ecr.get_authorization_token()["authorizationData"]
        username, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
        host = login["proxyEndpoint"].split("://", 1)[-1]
        return Registry(host, {"username": username, "password": password})

    def read_parameters(self, path: str) -> dict[str, str]:
        """The container's variables: every parameter right under `path`, decrypted.

        Raises:
            CloudError: SSM did not answer, or refused.
        """
        with cloud_errors(f"SSM cannot be asked for the parameters under {path}"):
            pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=True)
            return {
                parameter["Name"].rsplit("/", 1)[-1]: parameter["Value"]
                for page in pages
                for parameter in page["Parameters"]
            }


@contextlib.contextmanager
def cloud_errors(what: str) -> Iterator[None]:
    """Turn what boto3 raises into a CloudError which begins with `what`."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise CloudError(f"{what}: {str(error).rstrip('.')}.") from error
