"""IAM as on AWS: rights on one repository, on one path of parameters, and on nothing else."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws import Rehearsal
from tests.rehearsal.conftest import PARAMETERS, allow, make_user
from tests.rehearsal.host import Host


@pytest.fixture(scope="module")
def role(host: Host, profile: str) -> dict[str, str]:
    """The credentials of the host's role, as the host gets them."""
    document = json.loads(host.metadata(f"meta-data/iam/security-credentials/{profile}"))
    return {
        "aws_access_key_id": document["AccessKeyId"],
        "aws_secret_access_key": document["SecretAccessKey"],
        "aws_session_token": document["Token"],
    }


@pytest.fixture(scope="module", autouse=True)
def others(rehearsal: Rehearsal) -> None:
    """Things which are there but not theirs."""
    rehearsal.boto("ecr").create_repository(repositoryName="theirs")
    ssm = rehearsal.boto("ssm")
    ssm.put_parameter(Name=f"{PARAMETERS}/KEY", Value="secret", Type="SecureString")
    ssm.put_parameter(Name="/project/other/env/KEY", Value="secret", Type="SecureString")


def _refused(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    return f"{refusal.value.response['Error']['Code']}: {refusal.value}"


def test_the_host_is_its_role(rehearsal: Rehearsal, role: dict[str, str], host: Host, profile: str) -> None:
    arn = rehearsal.boto("sts", **role).get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::123456789012:assumed-role/{profile}/{host.instance_id}"


def test_the_role_reads_its_parameters_and_no_others(rehearsal: Rehearsal, role: dict[str, str]) -> None:
    ssm = rehearsal.boto("ssm", **role)
    found = ssm.get_parameters_by_path(Path=PARAMETERS, WithDecryption=True)["Parameters"]
    assert [(one["Name"], one["Value"]) for one in found] == [(f"{PARAMETERS}/KEY", "secret")]
    for path in ("/project/other/env", "/project", "/"):
        assert _refused(ssm.get_parameters_by_path, Path=path).startswith("AccessDeniedException")
    assert "ssm:GetParameter on resource" in _refused(ssm.get_parameter, Name=f"{PARAMETERS}/KEY")
    assert "ssm:PutParameter" in _refused(
        ssm.put_parameter, Name=f"{PARAMETERS}/KEY", Value="x", Type="String"
    )


def test_the_role_reads_its_repository_and_no_other(
    rehearsal: Rehearsal, role: dict[str, str], repository: str
) -> None:
    ecr = rehearsal.boto("ecr", **role)
    asked = [{"imageTag": "absent"}]
    found = ecr.batch_get_image(repositoryName=repository, imageIds=asked)
    assert found["failures"][0]["failureCode"] == "ImageNotFound"
    assert "repository/theirs" in _refused(ecr.batch_get_image, repositoryName="theirs", imageIds=asked)
    assert "ecr:DescribeImages" in _refused(ecr.describe_images, repositoryName=repository)


def test_the_role_does_nothing_else(rehearsal: Rehearsal, role: dict[str, str]) -> None:
    assert _refused(rehearsal.boto("ec2", **role).describe_instances).startswith("UnauthorizedOperation")
    assert _refused(rehearsal.boto("iam", **role).list_users).startswith("AccessDenied")
    assert _refused(rehearsal.boto("s3", **role).list_buckets).startswith("AccessDenied")


def test_ci_sees_its_repository_and_no_other(
    rehearsal: Rehearsal, ci: dict[str, str], repository: str
) -> None:
    ecr = rehearsal.boto("ecr", **ci)
    ecr.describe_images(repositoryName=repository)
    assert "repository/theirs" in _refused(ecr.describe_images, repositoryName="theirs")
    assert "ecr:BatchDeleteImage" in _refused(
        ecr.batch_delete_image, repositoryName=repository, imageIds=[{"imageTag": "x"}]
    )
    assert "ecr:DescribeRepositories" in _refused(ecr.describe_repositories, repositoryNames=[repository])
    assert "AccessDeniedException" in _refused(
        rehearsal.boto("ssm", **ci).get_parameter, Name=f"{PARAMETERS}/KEY"
    )


def test_a_wrong_secret_is_refused(rehearsal: Rehearsal, ci: dict[str, str]) -> None:
    wrong = {**ci, "aws_secret_access_key": "wrong"}
    assert _refused(rehearsal.boto("ecr", **wrong).get_authorization_token).startswith(
        "InvalidSignatureException"
    )
    assert _refused(rehearsal.boto("sts", **wrong).get_caller_identity).startswith("SignatureDoesNotMatch")


def test_a_deleted_key_is_refused(rehearsal: Rehearsal) -> None:
    iam = rehearsal.boto("iam")
    iam.create_user(UserName="leaver")
    made = iam.create_access_key(UserName="leaver")["AccessKey"]
    key = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
    rehearsal.boto("sts", **key).get_caller_identity()
    iam.delete_access_key(UserName="leaver", AccessKeyId=made["AccessKeyId"])
    assert _refused(rehearsal.boto("sts", **key).get_caller_identity).startswith("InvalidClientTokenId")


def test_a_negated_condition_holds_for_all_else_and_where_there_is_nothing(rehearsal: Rehearsal) -> None:
    allowed = allow(["cloudwatch:PutMetricData", "ssm:GetParameter"], "*")
    condition = {"StringNotLike": {"cloudwatch:namespace": ["a/*", "b"]}}
    key = make_user(rehearsal, "negated", allowed | {"Condition": condition})
    cloudwatch, data = rehearsal.boto("cloudwatch", **key), [{"MetricName": "x", "Value": 1}]
    for namespace in ("a", "c/a/x"):
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    for namespace in ("a/x", "b"):
        refused = _refused(cloudwatch.put_metric_data, Namespace=namespace, MetricData=data)
        assert refused.startswith("AccessDenied")
    assert _refused(rehearsal.boto("ssm", **key).get_parameter, Name="/a.b").startswith("ParameterNotFound")


def test_a_dot_in_a_policy_is_a_dot(rehearsal: Rehearsal) -> None:
    arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/a.b"
    key = make_user(rehearsal, "dotted", allow(["ssm:GetParameter"], arn))
    ssm = rehearsal.boto("ssm", **key)
    assert _refused(ssm.get_parameter, Name="/a.b").startswith("ParameterNotFound")
    assert _refused(ssm.get_parameter, Name="/a-b").startswith("AccessDeniedException")
