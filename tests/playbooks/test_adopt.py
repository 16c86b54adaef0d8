"""What was made by hand is taken over by name after it was agreed to, and destroy leaves it as it was.

The owner has the policy of docs/permissions.md and no other right.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.by_hand import RULE, make_things
from tests.checkout import Checkout, make_checkout, words
from tests.local_aws import Rehearsal
from tests.permissions import as_owner, published_policy

NAME = "ragstream-demo"
PARAMETER = "/ragstream/demo/env/OPENAI_API_KEY"


@pytest.fixture(scope="module")
def checkout(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of an owner with the published policy."""
    folder = tmp_path_factory.mktemp("owner")
    with as_owner(rehearsal, folder, published_policy()) as environment:
        yield make_checkout(tmp_path_factory.mktemp("checkout"), environment)


@pytest.fixture(scope="module")
def address(rehearsal: Rehearsal, checkout: Checkout) -> str:
    """A repository with an image and rules, a user, a parameter and an address, all made by hand."""
    made = make_things(rehearsal, PARAMETER)
    checkout.settings(elastic_ip=made)
    return made


def tags_by_hand(rehearsal: Rehearsal, address: str) -> list[dict[str, str]]:
    """The tags of address, repository, user and parameter."""
    ec2, ecr, iam, ssm = map(rehearsal.boto, ("ec2", "ecr", "iam", "ssm"))
    [repository] = ecr.describe_repositories()["repositories"]
    listed: list[list[dict[str, Any]]] = [
        ec2.describe_addresses(PublicIps=[address])["Addresses"][0]["Tags"],
        ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"],
        iam.list_user_tags(UserName="github-ragstream-ci")["Tags"],
        ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=PARAMETER)["TagList"],
    ]
    return [{tag["Key"]: tag["Value"] for tag in tags} for tags in listed]


def assert_listed(output: str, address: str) -> None:
    """Everything that was made by hand is in the list."""
    for one in (
        f"elastic-ip {address}:",
        f"parameter {PARAMETER}:",
        "repository ragstream-web:",
        "user github-ragstream-ci:",
    ):
        assert f"- {one}" in words(output)


def test_nothing_is_taken_over_unasked(rehearsal: Rehearsal, checkout: Checkout, address: str) -> None:
    checked = checkout.passes("playbooks/provision.yml", "--check", "--diff")
    assert_listed(checked.output, address)
    for agreed in ((), ("-e", "adopt=false")):
        run = checkout.play("playbooks/provision.yml", *agreed)
        assert run.status != 0
        assert_listed(run.output, address)
        assert "pass -e adopt=true" in words(run.output)
    assert tags_by_hand(rehearsal, address) == [{"Owner": "somebody"}] * 4
    assert not rehearsal.boto("ec2").describe_key_pairs()["KeyPairs"]


def test_what_cannot_be_taken_over_is_refused(rehearsal: Rehearsal, checkout: Checkout, address: str) -> None:
    ec2, ssm, ecr = map(rehearsal.boto, ("ec2", "ssm", "ecr"))
    stray = "/ragstream/demo/env/STRAY"
    ssm.put_parameter(Name=stray, Value="mine", Type="String")
    ec2.create_key_pair(KeyName=NAME)
    [repository] = ecr.describe_repositories()["repositories"]
    theirs = {"Project": "ragstream", "Stage": "other", "ManagedBy": "matinee"}
    ecr.tag_resource(
        resourceArn=repository["repositoryArn"],
        tags=[{"Key": key, "Value": value} for key, value in theirs.items()],
    )
    try:
        run = checkout.play("playbooks/provision.yml", "-e", "adopt=true")
    finally:
        ssm.delete_parameter(Name=stray)
        ec2.delete_key_pair(KeyName=NAME)
        ecr.untag_resource(resourceArn=repository["repositoryArn"], tagKeys=list(theirs))
    assert run.status != 0
    said = words(run.output)
    assert f"key-pair {NAME} was not made here and cannot be taken over" in said
    assert f"parameter {stray} was not made here and is not declared: put STRAY into app_settings" in said
    assert "repository ragstream-web belongs to project ragstream, stage other" in said
    assert tags_by_hand(rehearsal, address) == [{"Owner": "somebody"}] * 4

    wrong = checkout.play("playbooks/provision.yml", "-e", "adopt=true", "-e", "elastic_ip=203.0.113.7")
    assert wrong.status != 0
    assert "There is no Elastic IP 203.0.113.7" in words(wrong.output)


def test_agreed_to_it_is_used(rehearsal: Rehearsal, checkout: Checkout, address: str) -> None:
    run = checkout.passes("playbooks/provision.yml", "-e", "adopt=true")
    assert_listed(run.output, address)
    ec2, ecr, ssm = map(rehearsal.boto, ("ec2", "ecr", "ssm"))
    [reservation] = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [NAME]}])["Reservations"]
    [only] = ec2.describe_addresses()["Addresses"]
    assert (only["PublicIp"], only["InstanceId"]) == (address, reservation["Instances"][0]["InstanceId"])
    ours = {"Owner": "somebody", "Project": "ragstream", "Stage": "demo", "ManagedBy": "matinee"}
    for tags in tags_by_hand(rehearsal, address):
        assert tags.items() >= (ours | {"Adopted": "true"}).items()
    # What it had of its own, it keeps
    rules = ecr.get_lifecycle_policy(repositoryName="ragstream-web")["lifecyclePolicyText"]
    assert json.loads(rules)["rules"] == [RULE]
    stored = ssm.get_parameter(Name=PARAMETER, WithDecryption=True)
    assert stored["Parameter"]["Value"] == "mine"

    again = checkout.passes("playbooks/provision.yml")
    assert again.changed == 0
    assert "type yes" not in words(again.output)


def test_destroy_leaves_it_as_it_was(rehearsal: Rehearsal, checkout: Checkout, address: str) -> None:
    checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    ec2, ecr, ssm = map(rehearsal.boto, ("ec2", "ecr", "ssm"))
    assert not ec2.describe_key_pairs()["KeyPairs"]
    [left] = ec2.describe_addresses()["Addresses"]
    assert not left.get("InstanceId")
    for tags in tags_by_hand(rehearsal, address):
        assert not tags.keys() & {"Project", "Stage", "ManagedBy", "Adopted"}
        assert tags["Owner"] == "somebody"
    assert ecr.describe_images(repositoryName="ragstream-web")["imageDetails"]
    stored = ssm.get_parameter(Name=PARAMETER, WithDecryption=True)
    assert stored["Parameter"]["Value"] == "mine"
