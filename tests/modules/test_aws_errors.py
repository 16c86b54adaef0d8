"""What aws_errors makes of botocore's own errors."""

import boto3
import pytest
from ansible.module_utils.aws_errors import explain, missing_right
from botocore.exceptions import BotoCoreError

FULL_REFUSAL = (
    "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: ecr:InitiateLayerUpload on "
    "resource: arn:aws:ecr:eu-central-1:123456789012:repository/ragstream-web because no identity-based "
    "policy allows the ecr:InitiateLayerUpload action"
)


@pytest.fixture
def no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def failure(**credentials: str) -> BotoCoreError:
    client = boto3.client(
        "ssm",
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:1",
        **credentials,
    )
    with pytest.raises(BotoCoreError) as caught:
        client.get_parameter(Name="x")
    return caught.value


def test_no_credentials_says_where_to_set_them(no_aws_settings: None) -> None:
    assert "Set AWS_PROFILE" in explain(failure(), "eu-central-1")


def test_endpoint_that_does_not_answer_names_the_region(no_aws_settings: None) -> None:
    error = failure(aws_access_key_id="x", aws_secret_access_key="x")
    assert "Cannot reach AWS in region eu-central-1" in explain(error, "eu-central-1")


def test_missing_right_is_read_from_the_refusal() -> None:
    resource = "arn:aws:ecr:eu-central-1:123456789012:repository/ragstream-web"
    assert missing_right(FULL_REFUSAL) == f"ecr:InitiateLayerUpload on {resource}"
    assert missing_right("not authorized to perform: ec2:DescribeTags") == "ec2:DescribeTags"
    assert missing_right("something else") is None
