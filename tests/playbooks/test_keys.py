"""Who may do what: CI as a role and as a user, the host, the owner; keys and secrets that change meanwhile.

Every playbook is run by an owner who has the policy of docs/permissions.md and no other right.
"""

import hashlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.checkout import ACCOUNT, Checkout, make_checkout, words
from tests.local_aws import Rehearsal
from tests.permissions import GITHUB, ISSUER, as_owner, others, published_policy, small_app

REGION, REPOSITORY, PATH = "eu-central-1", "ragstream-web", "/ragstream/demo/env"
BUCKET = f"ragstream-demo-backup-{ACCOUNT}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ragstream-demo-ci"
HOST_ROLE = f"arn:aws:iam::{ACCOUNT}:role/ragstream-demo-host"
USER = "github-ragstream-ci"
SECRET = "sk-keys-9Qz'\"$x"
REFUSALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
LATEST = [{"imageTag": "latest"}]

type Keys = dict[str, str]
type Call = tuple[str, str, dict[str, Any]]

# What nobody but the owner may do
NEVER: list[Call] = [
    ("iam", "create_access_key", {"UserName": USER}),
    ("iam", "list_users", {}),
    ("iam", "put_role_policy", {"RoleName": "ragstream-demo-ci", "PolicyName": "x", "PolicyDocument": "{}"}),
    ("iam", "update_assume_role_policy", {"RoleName": "ragstream-demo-ci", "PolicyDocument": "{}"}),
    ("sts", "assume_role", {"RoleArn": HOST_ROLE, "RoleSessionName": "me"}),
    ("ec2", "describe_instances", {}),
    ("ec2", "run_instances", {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1}),
    ("ec2", "terminate_instances", {"InstanceIds": ["i-1"]}),
    ("ssm", "get_parameter", {"Name": f"{PATH}/TOKEN", "WithDecryption": True}),
    ("ssm", "get_parameters_by_path", {"Path": "/ragstream/other/env"}),
    ("ssm", "put_parameter", {"Name": f"{PATH}/TOKEN", "Value": "x", "Type": "String", "Overwrite": True}),
    ("ssm", "delete_parameter", {"Name": f"{PATH}/TOKEN"}),
    ("ecr", "initiate_layer_upload", {"repositoryName": "somebody-elses"}),
    ("ecr", "batch_delete_image", {"repositoryName": REPOSITORY, "imageIds": LATEST}),
    ("ecr", "delete_repository", {"repositoryName": REPOSITORY, "force": True}),
    ("ecr", "set_repository_policy", {"repositoryName": REPOSITORY, "policyText": "{}"}),
    ("s3", "list_buckets", {}),
    ("s3", "delete_object", {"Bucket": BUCKET, "Key": "data/x"}),
    ("s3", "put_bucket_versioning", {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Suspended"}}),
    ("cloudwatch", "put_metric_data", {"Namespace": "AWS/EC2", "MetricData": [{"MetricName": "x"}]}),
    ("logs", "delete_log_group", {"logGroupName": "/ragstream/demo"}),
    ("route53", "list_hosted_zones", {}),
    ("budgets", "describe_budgets", {"AccountId": ACCOUNT}),
]  # fmt: skip
NEVER_CI: list[Call] = [
    ("ssm", "get_parameters_by_path", {"Path": PATH, "WithDecryption": True}),
    (
        "ecr",
        "get_download_url_for_layer",
        {"repositoryName": REPOSITORY, "layerDigest": "sha256:" + "0" * 64},
    ),
    ("s3", "list_objects_v2", {"Bucket": BUCKET}),
]
NEVER_HOST: list[Call] = [
    ("ecr", "initiate_layer_upload", {"repositoryName": REPOSITORY}),
    ("ecr", "put_image", {"repositoryName": REPOSITORY, "imageManifest": "{}", "imageTag": "evil"}),
    ("ecr", "describe_images", {"repositoryName": REPOSITORY}),
]
SUBJECT = "repo:octocat/my-repo"
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "another repository": ("AccessDenied", {"sub": "repo:octocat/other:ref:refs/tags/deploy-1"}),
    "a repository whose name begins alike": ("AccessDenied", {"sub": f"{SUBJECT}-2:ref:refs/tags/deploy-1"}),
    "the name taken again by another owner": (
        "AccessDenied",
        {"sub": "repo:octocat@999/my-repo@456789:ref:refs/tags/deploy-1"},
    ),
    "another branch": ("AccessDenied", {"sub": f"{SUBJECT}:ref:refs/heads/main2"}),
    "a pull request": ("AccessDenied", {"sub": f"{SUBJECT}:pull_request"}),
    "another tag": ("AccessDenied", {"sub": f"{SUBJECT}:ref:refs/tags/v1"}),
    "a tag of another stage": ("AccessDenied", {"sub": f"{SUBJECT}:ref:refs/tags/deploy-staging-1"}),
    "such a tag, and the repository with its ids": (
        "AccessDenied",
        {"sub": f"repo:{GITHUB}:ref:refs/tags/deploy-staging-2026-11-21"},
    ),
    "an environment": ("AccessDenied", {"sub": f"{SUBJECT}:environment:production"}),
    "another audience": (
        "InvalidIdentityToken",
        {"sub": f"{SUBJECT}:ref:refs/heads/main", "aud": "https://github.com/octocat"},
    ),
    "another issuer": (
        "InvalidIdentityToken",
        {"sub": f"{SUBJECT}:ref:refs/heads/main", "iss": "https://tokens.example.org"},
    ),
    "a token of yesterday": (
        "ExpiredTokenException",
        {"sub": f"{SUBJECT}:ref:refs/heads/main", "exp": int(time.time()) - 86400},
    ),
}


@pytest.fixture(scope="module")
def owner(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an owner with the published policy."""
    folder = tmp_path_factory.mktemp("owner")
    with others(rehearsal), as_owner(rehearsal, folder, published_policy()) as environment:
        yield environment


@pytest.fixture(scope="module")
def stage(owner: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose CI is a role, with a small app."""
    made = make_checkout(tmp_path_factory.mktemp("checkout"), owner)
    small_app(made, cloud_identity_ci="oidc", github_repository=GITHUB)
    made.settings(
        app_secrets={
            name: f"{{{{ lookup('ansible.builtin.env', '{name}') }}}}" for name in ("MODE", "TOKEN")
        },
        app_optional_secrets=["MODE", "TOKEN"],
    )
    # Whose tags begin as the demo's do
    subprocess.run(["tools/stage", "staging"], cwd=made.path, check=True)
    made.commit("Two secrets, and a second stage")
    return made


@pytest.fixture(scope="module")
def assume(rehearsal: Rehearsal) -> Callable[[str], Keys]:
    """Ask for the role with a token, as aws-actions/configure-aws-credentials does."""
    sts = rehearsal.boto("sts", config=Config(signature_version=UNSIGNED))

    def ask(token: str) -> Keys:
        given = sts.assume_role_with_web_identity(
            RoleArn=ROLE, RoleSessionName="GitHubActions", WebIdentityToken=token
        )["Credentials"]
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }

    return ask


def allowed(rehearsal: Rehearsal, keys: Keys, calls: list[Call]) -> list[str]:
    """Which of the calls IAM does not refuse to who has these keys."""
    passed = []
    for service, operation, arguments in calls:
        try:
            getattr(rehearsal.boto(service, **keys), operation)(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSALS:
                continue
        passed.append(f"{service}:{operation}")
    return passed


def as_ci(rehearsal: Rehearsal, checkout: Checkout, keys: Keys) -> dict[str, str]:
    """The environment of a workflow that has signed in."""
    own = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    kept = {name: value for name, value in checkout.environment.items() if name not in own}
    named = {name.upper(): value for name, value in keys.items()}
    return kept | named | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{rehearsal.port}", "AWS_REGION": REGION}


def served(rehearsal: Rehearsal, path: str) -> str:
    """What the app answers."""
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    with urllib.request.urlopen(f"http://{address['PublicIp']}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def environment_of(rehearsal: Rehearsal) -> dict[str, str]:
    """Digests of the app's variables."""
    return dict(line.split() for line in served(rehearsal, "/environment").splitlines())


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def test_a_repository_that_is_none_is_refused_before_anything_is_made(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    run = stage.play("playbooks/provision.yml", "-e", "github_repository=octocat/*")
    assert run.status != 0
    assert "gh api repos/{owner}/{repo}" in words(run.output)
    assert REPOSITORY not in str(rehearsal.boto("ecr").describe_repositories())


def test_the_owner_s_rights_suffice_for_a_stage_with_a_role(rehearsal: Rehearsal, stage: Checkout) -> None:
    run = stage.passes("site.yml")
    assert f"gh variable set AWS_ROLE_ARN --body {ROLE}" in run.output
    assert not (stage.keys / "github-secrets.env").exists()
    assert USER not in str(rehearsal.boto("iam").list_users())


@pytest.mark.parametrize("repository", ["octocat/my-repo", GITHUB])
@pytest.mark.parametrize("ref", ["refs/tags/deploy-1", "refs/tags/deploy-2026-11-21", "refs/heads/main"])
def test_runs_of_the_repository_get_the_role(
    rehearsal: Rehearsal, assume: Callable[[str], Keys], repository: str, ref: str
) -> None:
    keys = assume(rehearsal.token(sub=f"repo:{repository}:ref:{ref}"))
    arn = rehearsal.boto("sts", **keys).get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/ragstream-demo-ci/GitHubActions"


@pytest.mark.parametrize("who", REFUSED)
def test_nobody_else_gets_the_role(rehearsal: Rehearsal, assume: Callable[[str], Keys], who: str) -> None:
    code, claims = REFUSED[who]
    with pytest.raises(ClientError) as refusal:
        assume(rehearsal.token(**claims))
    assert refusal.value.response["Error"]["Code"] == code


def test_a_forged_token_gets_no_role(rehearsal: Rehearsal, assume: Callable[[str], Keys]) -> None:
    header, _, signature = rehearsal.token(sub=f"{SUBJECT}:ref:refs/tags/v1").split(".")
    _, claims, _ = rehearsal.token(sub=f"{SUBJECT}:ref:refs/heads/main").split(".")
    with pytest.raises(ClientError, match="InvalidIdentityToken"):
        assume(f"{header}.{claims}.{signature}")


def test_the_role_pushes_and_does_nothing_else(
    rehearsal: Rehearsal, stage: Checkout, assume: Callable[[str], Keys]
) -> None:
    keys = assume(rehearsal.token(sub=f"{SUBJECT}:ref:refs/tags/deploy-1"))
    assert "pushed," in stage.passes("push.yml", environment=as_ci(rehearsal, stage, keys)).output
    assert allowed(rehearsal, keys, NEVER + NEVER_CI) == []


def test_a_parameter_is_typed_without_being_seen_and_taken_at_once(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    undeclared = stage.play("set-parameter.yml", "-e", "parameter=OTHER")
    assert undeclared.status != 0
    assert "with one of these" in words(undeclared.output)
    run = stage.play_at_terminal(
        "set-parameter.yml",
        *("-vvv", "-e", "parameter=TOKEN"),
        asked="(it is not shown)",
        until="TASK [There is a value]",
        typed=SECRET,
    )
    assert run.status == 0, run.output[-4000:]
    assert SECRET not in run.output
    assert environment_of(rehearsal)["TOKEN"] == digest(SECRET)


def test_a_value_with_which_the_app_fails_is_put_back(rehearsal: Rehearsal, stage: Checkout) -> None:
    version = served(rehearsal, "/")
    environment = stage.environment | {"MODE": "exits"}
    run = stage.play("set-parameter.yml", "-e", "parameter=MODE", environment=environment)
    assert run.status != 0
    assert "The model file is missing" in run.output
    assert "the old one was put back" in words(run.output)
    assert served(rehearsal, "/") == version
    stored = rehearsal.boto("ssm").get_parameters_by_path(Path=PATH)["Parameters"]
    assert [one["Name"] for one in stored] == [f"{PATH}/TOKEN"]


def test_a_value_that_the_host_could_not_take_is_put_back(rehearsal: Rehearsal, stage: Checkout) -> None:
    reach = stage.path / "playbooks/tasks/reach_host.yml"
    as_it_is = reach.read_text()
    reach.write_text(as_it_is.replace("else 180", "else 1"))  # nobody comes later here
    environment = stage.environment | {"TOKEN": "never-tried"}
    try:
        run = stage.play(
            "set-parameter.yml",
            *("-e", "parameter=TOKEN", "-e", "ansible_port=1"),
            environment=environment,
        )
    finally:
        reach.write_text(as_it_is)
    assert run.status != 0
    assert "did not let you in" in words(run.output)
    assert "the old one was put back" in words(run.output)
    stored = rehearsal.boto("ssm").get_parameter(Name=f"{PATH}/TOKEN", WithDecryption=True)["Parameter"]
    assert stored["Value"] == SECRET


def test_the_host_does_its_own_and_nothing_else(rehearsal: Rehearsal) -> None:
    given = json.loads(
        rehearsal.on_host(
            """
python3 - <<'END'
import boto3, json
print(json.dumps(boto3.Session().get_credentials().get_frozen_credentials()))
END
            """
        )
    )
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    keys = dict(zip(names, given, strict=False))
    own: list[Call] = [
        ("ssm", "get_parameters_by_path", {"Path": PATH, "WithDecryption": True}),
        ("ecr", "batch_get_image", {"repositoryName": REPOSITORY, "imageIds": LATEST}),
    ]
    assert len(allowed(rehearsal, keys, own)) == len(own)
    assert allowed(rehearsal, keys, NEVER + NEVER_HOST) == []


def test_ci_becomes_a_user_and_the_role_goes(
    rehearsal: Rehearsal, stage: Checkout, assume: Callable[[str], Keys]
) -> None:
    token = rehearsal.token(sub=f"{SUBJECT}:ref:refs/heads/main")
    assume(token)
    stage.settings(cloud_identity_ci="user")
    stage.passes("playbooks/provision.yml")
    iam = rehearsal.boto("iam")
    assert ROLE not in str(iam.list_roles())
    assert ISSUER not in str(iam.list_open_id_connect_providers())
    with pytest.raises(ClientError, match=r"AccessDenied|InvalidIdentityToken"):
        assume(token)
    assert stage.passes("playbooks/provision.yml", "--check").changed == 0


def test_a_provider_that_was_left_over_goes_when_no_role_trusts_it(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    iam = rehearsal.boto("iam")
    arn = iam.create_open_id_connect_provider(
        Url=f"https://{ISSUER}", Tags=[{"Key": "ManagedBy", "Value": "matinee"}]
    )["OpenIDConnectProviderArn"]
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="ragstream-staging-ci", AssumeRolePolicyDocument=document)
    try:
        assert stage.passes("playbooks/provision.yml").changed == 0
    finally:
        iam.delete_role(RoleName="ragstream-staging-ci")
    assert ISSUER in str(iam.list_open_id_connect_providers())
    stage.passes("playbooks/provision.yml")
    assert ISSUER not in str(iam.list_open_id_connect_providers())


def test_the_key_of_ci_changes_and_one_always_works(rehearsal: Rehearsal, stage: Checkout) -> None:
    first = key_of(stage)
    begun = stage.passes("rotate-ci-key.yml")
    assert f"gh secret set -f {stage.keys}/github-secrets.env" in begun.output
    second = key_of(stage)
    for keys in (first, second):
        assert keys["aws_secret_access_key"] not in begun.output
        rehearsal.boto("ecr", **keys).get_authorization_token()
    assert allowed(rehearsal, second, NEVER + NEVER_CI) == []
    assert second["aws_access_key_id"] in stage.passes("rotate-ci-key.yml").output
    [left] = rehearsal.boto("iam").list_access_keys(UserName=USER)["AccessKeyMetadata"]
    assert left["AccessKeyId"] == second["aws_access_key_id"]
    rehearsal.boto("ecr", **second).get_authorization_token()


def test_ci_becomes_a_role_again(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.settings(cloud_identity_ci="oidc")
    stage.passes("playbooks/provision.yml")
    assert not (stage.keys / "github-secrets.env").exists()
    refused = stage.play("rotate-ci-key.yml")
    assert refused.status != 0
    assert "There is no key to change" in words(refused.output)


def test_a_first_backup_made_while_destroying_stays(rehearsal: Rehearsal, stage: Checkout) -> None:
    assert BUCKET not in str(rehearsal.boto("s3").list_buckets())
    run = stage.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "last_backup=true")
    assert f"Kept: bucket {BUCKET}" in run.output
    assert rehearsal.boto("s3").list_objects_v2(Bucket=BUCKET, Prefix="data/")["KeyCount"] == 1


def test_destroy_leaves_nothing(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_data=true")
    iam = rehearsal.boto("iam")
    assert "ragstream" not in str(iam.list_roles()) + str(iam.list_users())
    assert ISSUER not in str(iam.list_open_id_connect_providers())


def key_of(checkout: Checkout) -> Keys:
    """The key in the file for GitHub."""
    lines = (checkout.keys / "github-secrets.env").read_text().splitlines()
    return {name.lower(): value for name, _, value in (line.partition("=") for line in lines[:2])}
