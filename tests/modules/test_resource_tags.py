"""resource_tags, on a resource of each type."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.modules.running import Client, RunModule

TAGS = {"Project": "ragstream", "Stage": "demo"}
Resource = dict[str, str]


@pytest.fixture(scope="module")
def resources(aws: Client) -> Iterator[list[Resource]]:
    """One resource of each type but an instance, which EC2 tags as it does an address."""
    name, mine = f"test-{uuid.uuid4().hex[:8]}", {"Key": "Owner", "Value": "somebody"}
    ec2, ecr, iam, ssm = map(aws, ("ec2", "ecr", "iam", "ssm"))
    with ExitStack() as cleanup:
        address = ec2.allocate_address(
            Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [mine]}]
        )
        cleanup.callback(ec2.release_address, AllocationId=address["AllocationId"])
        repository = ecr.create_repository(repositoryName=name, tags=[mine])["repository"]
        cleanup.callback(ecr.delete_repository, repositoryName=name)
        iam.create_user(UserName=name, Tags=[mine])
        cleanup.callback(iam.delete_user, UserName=name)
        ssm.put_parameter(Name=f"/{name}/A", Value="1", Type="String", Tags=[mine])
        cleanup.callback(ssm.delete_parameter, Name=f"/{name}/A")
        yield [
            {"type": "elastic-ip", "id": address["AllocationId"], "name": address["PublicIp"]},
            {"type": "repository", "id": repository["repositoryArn"], "name": name},
            {"type": "user", "id": name, "name": name},
            {"type": "parameter", "id": f"/{name}/A", "name": f"/{name}/A"},
        ]


def carried(aws: Client, resources: list[Resource]) -> list[dict[str, str]]:
    """What AWS says that each of them carries."""
    address, repository, user, parameter = (one["id"] for one in resources)
    listed: list[list[dict[str, Any]]] = [
        aws("ec2").describe_addresses(AllocationIds=[address])["Addresses"][0]["Tags"],
        aws("ecr").list_tags_for_resource(resourceArn=repository)["tags"],
        aws("iam").list_user_tags(UserName=user)["Tags"],
        aws("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=parameter)["TagList"],
    ]
    return [{tag["Key"]: tag["Value"] for tag in tags} for tags in listed]


def test_tags_come_and_go_and_others_stay(
    run_module: RunModule, aws: Client, resources: list[Resource]
) -> None:
    without, present = {"Owner": "somebody"}, {"resources": resources, "tags": TAGS}
    named = [f"{one['type']} {one['name']}" for one in resources]

    assert run_module("resource_tags", present, check=True).result["resources"] == named
    assert carried(aws, resources) == [without] * 4
    assert run_module("resource_tags", present).result["resources"] == named
    assert carried(aws, resources) == [without | TAGS] * 4
    assert not run_module("resource_tags", present).changed

    absent = present | {"state": "absent"}
    other = absent | {"tags": {"Stage": "staging"}}
    assert not run_module("resource_tags", other).changed
    assert run_module("resource_tags", absent, check=True).changed
    assert carried(aws, resources) == [without | TAGS] * 4
    assert run_module("resource_tags", absent).changed
    assert carried(aws, resources) == [without] * 4
    assert not run_module("resource_tags", absent).changed


def test_a_type_it_cannot_tag_is_named(run_module: RunModule) -> None:
    refused = run_module(
        "resource_tags", {"resources": [{"type": "zone", "id": "Z1", "name": "z"}], "tags": TAGS}
    )
    assert refused.failed
    assert "Resources of the type zone" in refused.message
