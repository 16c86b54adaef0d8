"""What breaks the registry and the APIs for hosts: each does, and is gone afterwards."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import docker
import pytest
from botocore.exceptions import ClientError
from docker.models.images import Image

from tests import local_aws
from tests.local_aws import Rehearsal
from tests.rehearsal.conftest import PARAMETERS
from tests.rehearsal.host import Host
from tests.rehearsal.registry import digest_of, log_in, push

REGISTRY = "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com"
APIS = ("https://api.ecr.eu-central-1.amazonaws.com", "https://ssm.eu-central-1.amazonaws.com")
SIZE = 1_000_000
# curl's exit codes
FINE, PARTIAL, TIMEOUT, CLOSED = 0, 18, 28, 56


@dataclass(frozen=True)
class Answer:
    """What curl on a host got: its exit code, the status, how many bytes."""

    end: int
    status: int
    size: int


@pytest.fixture(scope="module")
def ask(host: Host) -> Callable[..., Answer]:
    """Ask for a URL from the host."""

    def curl(url: str, *options: str) -> Answer:
        form = "%{exitcode} %{http_code} %{size_download}"
        said = host.run(f"curl -s -o /dev/null -w '{form}' {' '.join(options)} {url} || true")
        return Answer(*map(int, said.split()))

    return curl


@pytest.fixture
def layer(
    rehearsal: Rehearsal,
    engine: docker.DockerClient,
    image: Callable[[int], Image],
    repository: str,
    ask: Callable[..., Answer],
) -> Callable[..., Answer]:
    """Ask for a layer of a bit more than a million bytes from the host."""
    digest_of(push(rehearsal, engine, image(SIZE), repository, "fragile"))
    found = rehearsal.boto("ecr").batch_get_image(
        repositoryName=repository, imageIds=[{"imageTag": "fragile"}]
    )
    digest = json.loads(found["images"][0]["imageManifest"])["layers"][0]["digest"]
    _, login = log_in(rehearsal)
    url = f"{REGISTRY}/v2/{repository}/blobs/{digest}"
    return lambda *options: ask(url, "-u", f"AWS:{login['password']}", *options)


def test_registry_down(rehearsal: Rehearsal, layer: Callable[..., Answer]) -> None:
    with local_aws.registry_down(rehearsal):
        assert layer().end == CLOSED
    with local_aws.registry_down(rehearsal, silent=True):
        assert layer("--max-time 1").end == TIMEOUT
    assert layer().size > SIZE


def test_registry_slow(rehearsal: Rehearsal, layer: Callable[..., Answer]) -> None:
    with local_aws.registry_slow(rehearsal, bytes_per_second=10_000):
        slow = layer("--max-time 2")
    assert slow.end == TIMEOUT
    assert 0 < slow.size < SIZE / 2
    assert layer().size > SIZE


def test_registry_refusing(rehearsal: Rehearsal, layer: Callable[..., Answer]) -> None:
    for status in (401, 403):
        with local_aws.registry_refusing(rehearsal, status):
            assert layer().status == status
    assert layer().status == 200


def test_registry_cutting(rehearsal: Rehearsal, layer: Callable[..., Answer]) -> None:
    with local_aws.registry_cutting(rehearsal, after_bytes=SIZE // 2):
        cut = layer()
    assert cut.end == PARTIAL
    assert 0 < cut.size < SIZE / 2
    assert layer().size > SIZE


def test_api_down(rehearsal: Rehearsal, ask: Callable[..., Answer], layer: Callable[..., Answer]) -> None:
    with local_aws.api_down(rehearsal):
        assert [ask(api).end for api in APIS] == [CLOSED, CLOSED]
        assert layer().end == FINE
        assert rehearsal.boto("ecr").describe_repositories()
    with local_aws.api_down(rehearsal, silent=True):
        assert [ask(api, "--max-time 1").end for api in APIS] == [TIMEOUT, TIMEOUT]
    assert [ask(api).end for api in APIS] == [FINE, FINE]


def test_ssm_down(rehearsal: Rehearsal, ask: Callable[..., Answer]) -> None:
    with local_aws.ssm_down(rehearsal):
        assert [ask(api).end for api in APIS] == [FINE, CLOSED]
    assert [ask(api).end for api in APIS] == [FINE, FINE]


def test_ssm_denied(rehearsal: Rehearsal, host: Host, profile: str) -> None:
    document = json.loads(host.metadata(f"meta-data/iam/security-credentials/{profile}"))
    ssm = rehearsal.boto(
        "ssm",
        aws_access_key_id=document["AccessKeyId"],
        aws_secret_access_key=document["SecretAccessKey"],
        aws_session_token=document["Token"],
    )
    with local_aws.ssm_denied(rehearsal), pytest.raises(ClientError, match="AccessDeniedException"):
        ssm.get_parameters_by_path(Path=PARAMETERS)
    assert ssm.get_parameters_by_path(Path=PARAMETERS)
