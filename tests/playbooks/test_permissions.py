"""The owner's policy in docs/permissions.md: one that AWS takes, and that allows nothing beside the stage.

That it suffices is what test_keys.py shows, whose owner has it and no other right.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws import Rehearsal
from tests.permissions import MOST, as_owner, published_policy

ROLE = "somebody-elses"
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": []})
FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    ("iam", "create_user", {"UserName": "another"}),
    ("iam", "create_access_key", {"UserName": "administrator"}),
    ("iam", "put_user_policy", {"UserName": "owner", "PolicyName": "x", "PolicyDocument": DOCUMENT}),
    ("iam", "put_role_policy", {"RoleName": ROLE, "PolicyName": "x", "PolicyDocument": DOCUMENT}),
    ("iam", "delete_role", {"RoleName": ROLE}),
    ("ecr", "delete_repository", {"repositoryName": ROLE, "force": True}),
    ("ssm", "get_parameters_by_path", {"Path": "/somebody-elses", "WithDecryption": True}),
    ("ssm", "put_parameter", {"Name": "/somebody-elses/x", "Value": "x", "Type": "String"}),
    ("s3", "delete_bucket", {"Bucket": ROLE}),
    ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/16"}),
    ("ec2", "create_nat_gateway", {"SubnetId": "subnet-1"}),
    ("lambda", "list_functions", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def keys(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The key of an owner with the policy."""
    with as_owner(rehearsal, tmp_path_factory.mktemp("owner"), published_policy()) as environment:
        lines = Path(environment["AWS_SHARED_CREDENTIALS_FILE"]).read_text().splitlines()[1:]
        yield dict(line.split("=", 1) for line in lines)


def test_the_policy_is_one_that_aws_takes() -> None:
    assert len("".join(json.dumps(published_policy()).split())) <= MOST


@pytest.mark.parametrize(("service", "operation", "arguments"), FORBIDDEN)
def test_the_policy_ends_at_the_stage(
    rehearsal: Rehearsal, keys: dict[str, str], service: str, operation: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|UnauthorizedOperation"):
        getattr(rehearsal.boto(service, **keys), operation)(**arguments)


def test_no_role_but_the_stage_s_can_be_passed(rehearsal: Rehearsal, keys: dict[str, str]) -> None:
    admin = rehearsal.boto("iam")
    admin.create_role(RoleName=ROLE, AssumeRolePolicyDocument=DOCUMENT)
    admin.create_instance_profile(InstanceProfileName="ragstream-x")
    try:
        with pytest.raises(ClientError, match="PassRole"):
            rehearsal.boto("iam", **keys).add_role_to_instance_profile(
                InstanceProfileName="ragstream-x", RoleName=ROLE
            )
    finally:
        admin.delete_instance_profile(InstanceProfileName="ragstream-x")
        admin.delete_role(RoleName=ROLE)
