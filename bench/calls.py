"""Requests to AWS and seconds of each playbook, beside a bare boto3 script that asks the same questions.

The requests are those that IAM decided upon in the rehearsal. The script (python -m bench.calls) makes a
playbook's reading ones again, one after the other, with nothing around them.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from http import HTTPStatus
from typing import Any

import boto3
from botocore import xform_name

from bench.stage import Row, Stage, timed
from tests.checkout import ACCOUNT
from tests.local_aws import ROOT

REPOSITORY = "ragstream-web"
IDENTITIES = {
    "InstanceProfileName": "ragstream-demo-host",
    "RoleName": "ragstream-demo-host",
    "UserName": "github-ragstream-ci",
}
ARN = f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/{REPOSITORY}"
BUCKET = f"ragstream-demo-backup-{ACCOUNT}"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
READING = ("Describe", "Get", "List", "View", "BatchGet")
PLAYBOOKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("destroy.yml", "destroy.yml", ("-e", "confirm=ragstream-demo")),
    ("site.yml, empty account", "site.yml", ()),
    ("site.yml, again", "site.yml", ()),
    ("push.yml", "push.yml", ()),
    ("demo-start.yml, the host is on", "demo-start.yml", ()),
    ("status.yml", "status.yml", ()),
    ("demo-stop.yml", "demo-stop.yml", ()),
    ("demo-start.yml, the host is off", "demo-start.yml", ()),
)
# Operations that are called otherwise than the right to them
OPERATIONS = {
    "budgets:ViewBudget": "describe_budgets",
    "s3:ListAllMyBuckets": "list_buckets",
    "s3:ListBucket": "list_objects_v2",
    "s3:ListBucketVersions": "list_object_versions",
}
# What an operation has to be told; of what is not here, nothing
ARGUMENTS: dict[str, dict[str, Any]] = {
    "budgets:ViewBudget": {"AccountId": ACCOUNT},
    "ec2:DescribeImages": {"Owners": ["136693071363"]},
    "ec2:DescribeInstanceAttribute": {"InstanceId": "i-00000000000000000", "Attribute": "userData"},
    "ecr:BatchGetImage": {"repositoryName": REPOSITORY, "imageIds": [{"imageTag": "latest"}]},
    "ecr:DescribeImages": {"repositoryName": REPOSITORY},
    "ecr:GetLifecyclePolicy": {"repositoryName": REPOSITORY},
    "ecr:ListTagsForResource": {"resourceArn": ARN},
    "pricing:GetProducts": {"ServiceCode": "AmazonEC2", "MaxResults": 1},
    "iam:GetOpenIDConnectProvider": {"OpenIDConnectProviderArn": PROVIDER},
    "iam:GetRolePolicy": {"PolicyName": "serve-the-app"},
    "iam:GetUserPolicy": {"PolicyName": "push-images"},
    "s3:GetBucketTagging": {"Bucket": BUCKET},
    "s3:ListBucket": {"Bucket": BUCKET},
    "s3:ListBucketVersions": {"Bucket": BUCKET},
    "sns:ListTagsForResource": {"ResourceArn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:ragstream-demo"},
    "ssm:GetParameter": {"Name": "/ragstream/demo/accepted-monthly-cost"},
    "ssm:GetParametersByPath": {"Path": "/ragstream/demo", "Recursive": True, "WithDecryption": True},
    "ssm:ListTagsForResource": {
        "ResourceType": "Parameter",
        "ResourceId": "/ragstream/demo/accepted-monthly-cost",
    },
}


def measure(stage: Stage) -> list[Row]:
    """Run each playbook, then the script with what it has asked."""
    return [
        row for name, playbook, arguments in PLAYBOOKS for row in beside(stage, name, playbook, arguments)
    ]


def beside(stage: Stage, name: str, playbook: str, arguments: tuple[str, ...]) -> list[Row]:
    """Run a playbook and count what it asks AWS, of which the host's questions are no part."""
    before = len(stage.rehearsal.trail())
    seconds = timed(lambda: stage.checkout.passes(playbook, *arguments))
    asked = [
        one["action"] for one in stage.rehearsal.trail()[before:] if one["who"].endswith("user/administrator")
    ]
    reading = [action for action in asked if action.partition(":")[2].startswith(READING)]
    command = [sys.executable, "-m", "bench.calls"]
    script = timed(
        lambda: subprocess.run(
            command,
            input=json.dumps(Counter(reading)),
            cwd=ROOT,
            env=os.environ | stage.rehearsal.env,
            text=True,
            check=True,
        )
    )
    remark = f"{len(asked)} requests; a bare script with the {len(reading)} that read: {script:.1f} s"
    return [(name, f"{seconds:.1f} s", remark)]


@cache
def connect(service: str) -> Any:  # noqa: ANN401 - botocore makes its class at run time
    """Make a client."""
    make: Any = boto3.client
    return make(service, **({"region_name": "us-east-1"} if service == "pricing" else {}))


def ask(action: str) -> None:
    """Ask AWS one question; that there is no such thing is an answer, too."""
    service, _, right = action.partition(":")
    client = connect(service)
    operation = OPERATIONS.get(action, xform_name(right))
    arguments = ARGUMENTS.get(action, {})
    if service == "iam":
        shape = client.meta.service_model.operation_model(right).input_shape
        arguments = arguments | {
            key: value for key, value in IDENTITIES.items() if shape and key in shape.members
        }
    try:
        getattr(client, operation)(**arguments)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.FORBIDDEN:
            raise


def main() -> None:
    """Ask what standard input says: how often each question."""
    for action, times in json.load(sys.stdin).items():
        for _ in range(times):
            ask(action)


if __name__ == "__main__":
    main()
