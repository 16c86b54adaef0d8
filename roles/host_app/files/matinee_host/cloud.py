"""What the host asks of AWS, as its instance's role."""

import base64
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from matinee_host.model import LaunchError

MANIFEST_TYPES = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]


# They answer in milliseconds; where they do not at a start, the last good image is waiting
PATIENCE = ClientConfig(
    connect_timeout=3, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2}
)


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
        session = session_in(region)
        self._ecr = session.client("ecr", config=PATIENCE)
        self._ssm = session.client("ssm", config=PATIENCE)
        self._s3 = session.client("s3", config=PATIENCE.merge(ClientConfig(read_timeout=30)))

    def digest_of(self, repository: str, tag: str) -> str | None:
        """The digest of the image with a tag; None when there is none.

        Raises:
            CloudError: ECR did not answer, or refused.
        """
        with cloud_errors(f"ECR cannot be asked for the image {tag}"):
            answer = self._ecr.batch_get_image(
                repositoryName=repository,
                imageIds=[{"imageTag": tag}],
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

    def upload(self, bucket: str, key: str, file: Path, metadata: dict[str, str]) -> None:
        """Put a file into a bucket, in parts where it is large.

        Raises:
            CloudError: S3 did not answer, or refused.
        """
        with cloud_errors(f"{key} cannot be written to the bucket {bucket}"):
            self._s3.upload_file(str(file), bucket, key, ExtraArgs={"Metadata": metadata})

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """What a bucket holds under a prefix, the oldest first.

        Raises:
            CloudError: S3 did not answer, or refused.
        """
        with cloud_errors(f"The bucket {bucket} cannot be read"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))

    def download(self, bucket: str, key: str, file: Path) -> dict[str, str]:
        """Get a file from a bucket.

        Returns:
            Its metadata.

        Raises:
            CloudError: S3 did not answer, or refused.
        """
        with cloud_errors(f"{key} cannot be read from the bucket {bucket}"):
            metadata: dict[str, str] = self._s3.head_object(Bucket=bucket, Key=key)["Metadata"]
            self._s3.download_file(bucket, key, str(file))
            return metadata


class Reports:
    """The AWS services which take figures and logs.

    Args:
        region: The region of both.
    """

    def __init__(self, region: str) -> None:
        session = session_in(region)
        self._cloudwatch = session.client("cloudwatch", config=PATIENCE)
        self._logs = session.client("logs", config=PATIENCE.merge(ClientConfig(read_timeout=30)))

    def put_figures(self, namespace: str, figures: dict[str, tuple[float, str]]) -> None:
        """Publish figures, each with its unit, in one call.

        Raises:
            CloudError: CloudWatch did not answer, or refused.
        """
        data = [{"MetricName": name, "Value": value, "Unit": unit} for name, (value, unit) in figures.items()]
        with cloud_errors("CloudWatch takes no figures"):
            self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)

    def put_lines(self, group: str, stream: str, lines: Sequence[tuple[int, str]]) -> None:
        """Append lines, each with its time in milliseconds, the oldest first.

        A stream that is missing is made, a group is not.

        Raises:
            CloudError: CloudWatch Logs did not answer, or refused, or there is no such group.
        """
        events = [{"timestamp": time, "message": text} for time, text in lines]
        where = {"logGroupName": group, "logStreamName": stream}
        with cloud_errors(f"CloudWatch Logs takes no lines of {stream}"):
            try:
                self._logs.put_log_events(**where, logEvents=events)
            except self._logs.exceptions.ResourceNotFoundException:
                self._logs.create_log_stream(**where)
                self._logs.put_log_events(**where, logEvents=events)


def session_in(region: str) -> boto3.Session:
    """What clients are made with: the role of this instance, in a region."""
    core = botocore.session.Session()
    # The metadata service can be slow in a host's first seconds; by default it is asked once, for 1 s.
    core.set_config_variable("metadata_service_timeout", 2)
    core.set_config_variable("metadata_service_num_attempts", 3)
    return boto3.Session(botocore_session=core, region_name=region)


@contextlib.contextmanager
def cloud_errors(what: str) -> Iterator[None]:
    """Turn what boto3 raises into a CloudError which begins with `what`."""
    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise CloudError(f"{what}: {str(error).rstrip('.')}.") from error
