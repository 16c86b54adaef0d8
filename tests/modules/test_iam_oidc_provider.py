"""iam_oidc_provider, against the providers of the rehearsal's account."""

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.modules.running import Client, RunModule

TAGS = {"ManagedBy": "matinee"}


@pytest.fixture
def url(aws: Client) -> Iterator[str]:
    """An issuer of which the account knows nothing."""
    issuer = f"https://tokens-{uuid.uuid4().hex[:8]}.example.org"
    yield issuer
    aws("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=arn_of(issuer))


def arn_of(url: str) -> str:
    return f"arn:aws:iam::123456789012:oidc-provider/{url.removeprefix('https://')}"


def test_it_is_made_once_and_predicted_before(run_module: RunModule, aws: Client, url: str) -> None:
    arguments = {"url": url, "client_ids": ["sts.amazonaws.com"], "tags": TAGS}
    predicted = run_module("iam_oidc_provider", arguments, check=True)
    assert arn_of(url) not in str(aws("iam").list_open_id_connect_providers())
    made = run_module("iam_oidc_provider", arguments)
    assert (predicted.changed, made.changed) == (True, True)
    assert predicted.result["oidc_provider"] == made.result["oidc_provider"]
    found = aws("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn_of(url))
    assert found["ClientIDList"] == ["sts.amazonaws.com"]
    assert found["Tags"] == [{"Key": "ManagedBy", "Value": "matinee"}]
    assert not run_module("iam_oidc_provider", arguments).changed


def test_one_that_is_there_gets_the_audience_and_keeps_what_it_has(
    run_module: RunModule, aws: Client, url: str
) -> None:
    theirs = [{"Key": "Team", "Value": "platform"}]
    aws("iam").create_open_id_connect_provider(Url=url, ClientIDList=["theirs"], Tags=theirs)
    arguments = {"url": url, "client_ids": ["sts.amazonaws.com"], "tags": TAGS}
    run = run_module("iam_oidc_provider", arguments)
    assert run.changed
    found = aws("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn_of(url))
    assert (sorted(found["ClientIDList"]), found["Tags"]) == (["sts.amazonaws.com", "theirs"], theirs)
    kept = run_module("iam_oidc_provider", {"url": url, "tags": TAGS, "state": "absent"})
    assert not kept.changed
    assert kept.result["oidc_provider"]["tags"] == {"Team": "platform"}


def test_it_stays_while_a_role_trusts_it(run_module: RunModule, aws: Client, url: str) -> None:
    run_module("iam_oidc_provider", {"url": url, "tags": TAGS})
    name = f"trusting-{uuid.uuid4().hex[:8]}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": arn_of(url)},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
    arguments = {"url": url, "tags": TAGS, "state": "absent"}
    try:
        kept = run_module("iam_oidc_provider", arguments)
    finally:
        aws("iam").delete_role(RoleName=name)
    assert (kept.changed, kept.result["trusted_by"]) == (False, [name])
    gone = run_module("iam_oidc_provider", arguments)
    assert (gone.changed, gone.result["oidc_provider"]) == (True, None)
    assert not run_module("iam_oidc_provider", arguments).changed


def test_what_is_no_issuer_is_refused(run_module: RunModule) -> None:
    run = run_module("iam_oidc_provider", {"url": "tokens.example.org"})
    assert run.failed
    assert "begins with https://" in run.message
