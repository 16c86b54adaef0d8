"""What the rehearsal's own tests share: hosts to log in to, identities with few rights, images to push."""

import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.images import Image

from tests.local_aws import Rehearsal
from tests.rehearsal.host import DEBIAN, Host

ACCOUNT = "123456789012"
PARAMETERS = "/project/stage/env"
BUCKET = "tests-backup"


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """This machine's docker engine."""
    return docker.from_env()


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory, rehearsal: Rehearsal) -> Path:
    """A private key whose public half is the EC2 key pair `tests`."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    rehearsal.boto("ec2").import_key_pair(
        KeyName="tests", PublicKeyMaterial=path.with_suffix(".pub").read_bytes()
    )
    return path


@pytest.fixture(scope="session")
def repository(rehearsal: Rehearsal) -> str:
    """The ECR repository the identities below may use."""
    name = "mine"
    rehearsal.boto("ecr").create_repository(repositoryName=name)
    return name


@pytest.fixture(scope="session")
def profile(rehearsal: Rehearsal, repository: str) -> str:
    """An instance profile which may pull from the repository, read the parameters and use the bucket."""
    iam = rehearsal.boto("iam")
    name = "tests-host"
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))
    parameters = f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter{PARAMETERS}"
    pull = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
    document = policy(
        allow(["ecr:GetAuthorizationToken"], "*"),
        allow(pull, _repository_arn(repository)),
        allow(["ssm:GetParametersByPath"], parameters, f"{parameters}/*"),
        allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
        allow(["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{BUCKET}/*"),
    )
    iam.put_role_policy(RoleName=name, PolicyName="pull", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


@pytest.fixture(scope="session")
def ci(rehearsal: Rehearsal, repository: str) -> dict[str, str]:
    """The key of a user who may push to the repository, nothing else."""
    push = ["BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"]
    push += ["PutImage", "BatchGetImage", "DescribeImages"]
    return make_user(
        rehearsal,
        "tests-ci",
        allow(["ecr:GetAuthorizationToken"], "*"),
        allow([f"ecr:{action}" for action in push], _repository_arn(repository)),
    )


@pytest.fixture(scope="session")
def launch(rehearsal: Rehearsal, key: Path, profile: str) -> Callable[..., Host]:
    """Starts an instance of Debian's newest image and gives it an Elastic IP."""

    def start(user_data: str = "") -> Host:
        ec2 = rehearsal.boto("ec2")
        filters = [{"Name": "name", "Values": ["debian-13-amd64-*"]}]
        found = ec2.describe_images(Owners=[DEBIAN], Filters=filters)["Images"]
        newest = max(found, key=lambda image: image["CreationDate"])
        instance = ec2.run_instances(
            ImageId=newest["ImageId"],
            InstanceType="t3.medium",
            MinCount=1,
            MaxCount=1,
            KeyName="tests",
            UserData=user_data,
            IamInstanceProfile={"Name": profile},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        )["Instances"][0]
        address = ec2.allocate_address(Domain="vpc")
        host = Host(instance["InstanceId"], address["PublicIp"], address["AllocationId"], key, rehearsal)
        host.wait("running")
        ec2.associate_address(AllocationId=host.allocation_id, InstanceId=host.instance_id)
        return host

    return start


@pytest.fixture(scope="session")
def host(launch: Callable[..., Host]) -> Host:
    """A running host the tests share; a test may stop it if it starts it again."""
    return launch()


@pytest.fixture
def image(engine: docker.DockerClient) -> Iterator[Callable[[int], Image]]:
    """Makes images of one random layer of so many bytes, which no registry can have seen."""
    made: list[Image] = []

    def make(size: int = 1000) -> Image:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("content")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
        name = f"matinee-test:{uuid.uuid4().hex}"
        repository, tag = name.split(":")
        engine.api.import_image_from_data(archive.getvalue(), repository=repository, tag=tag)
        made.append(engine.images.get(name))
        return made[-1]

    yield make
    for one in made:
        engine.images.remove(str(one.id), force=True)


def _repository_arn(name: str) -> str:
    return f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/{name}"


def make_user(rehearsal: Rehearsal, name: str, *statements: dict[str, Any]) -> dict[str, str]:
    """Create a user who may do only this; returns the key, in boto3's words."""
    iam = rehearsal.boto("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="tests", PolicyDocument=policy(*statements))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}


def allow(actions: list[str], *resources: str) -> dict[str, Any]:
    """A policy's statement."""
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources)}


def policy(*statements: dict[str, Any]) -> str:
    """A policy's document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
