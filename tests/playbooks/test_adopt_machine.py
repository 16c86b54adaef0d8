"""A machine made by hand becomes the stage's host after it was agreed to, and destroy leaves it running."""

from typing import Any

import pytest

from tests.by_hand import make_machine
from tests.checkout import Checkout, words
from tests.local_aws import Rehearsal

NAME = "ragstream-demo"


@pytest.fixture(scope="module")
def machine(rehearsal: Rehearsal, checkout: Checkout) -> str:
    """A Debian that somebody runs, which would go for good when it powers itself off, and its key."""
    return make_machine(rehearsal, checkout.keys, "terminate")


def only_machine(rehearsal: Rehearsal) -> dict[str, Any]:
    """The one machine that there is."""
    [reservation] = rehearsal.boto("ec2").describe_instances()["Reservations"]
    [found] = reservation["Instances"]
    assert found["State"]["Name"] == "running"
    return dict(found)


def tags_of(found: dict[str, Any]) -> dict[str, str]:
    """The tags of a machine."""
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def test_one_that_would_not_outlive_a_show_is_refused(
    rehearsal: Rehearsal, checkout: Checkout, machine: str
) -> None:
    run = checkout.play("playbooks/provision.yml", "-e", "adopt=true")
    assert run.status != 0
    assert "stops and does not terminate when it powers itself off" in words(run.output)
    assert tags_of(only_machine(rehearsal)) == {"Name": NAME}
    rehearsal.boto("ec2").modify_instance_attribute(
        InstanceId=machine, Attribute="instanceInitiatedShutdownBehavior", Value="stop"
    )


def test_one_that_has_another_role_is_refused(rehearsal: Rehearsal, checkout: Checkout, machine: str) -> None:
    ec2, iam = map(rehearsal.boto, ("ec2", "iam"))
    iam.create_instance_profile(InstanceProfileName="mine")
    made = ec2.associate_iam_instance_profile(IamInstanceProfile={"Name": "mine"}, InstanceId=machine)
    run = checkout.play("playbooks/provision.yml", "-e", "adopt=true")
    assert run.status != 0
    assert "has the instance profile mine" in words(run.output)
    assert tags_of(only_machine(rehearsal)) == {"Name": NAME}
    ec2.disassociate_iam_instance_profile(
        AssociationId=made["IamInstanceProfileAssociation"]["AssociationId"]
    )
    iam.delete_instance_profile(InstanceProfileName="mine")


def test_agreed_to_it_is_the_host(rehearsal: Rehearsal, checkout: Checkout, machine: str) -> None:
    checkout.passes("playbooks/provision.yml", "-e", "adopt=true")
    found = only_machine(rehearsal)
    assert found["InstanceId"] == machine
    assert found["IamInstanceProfile"]["Arn"].endswith(f"/{NAME}-host")
    assert [group["GroupName"] for group in found["SecurityGroups"]] == [NAME]
    assert tags_of(found).items() >= {"Adopted": "true", "ManagedBy": "matinee"}.items()
    assert checkout.passes("playbooks/provision.yml").changed == 0
    checkout.passes("playbooks/configure.yml")


@pytest.mark.parametrize("time", ["first", "second"])
def test_destroy_leaves_it_with_what_it_uses(
    rehearsal: Rehearsal, checkout: Checkout, machine: str, time: str
) -> None:
    checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    found = only_machine(rehearsal)
    assert found["InstanceId"] == machine
    assert tags_of(found) == {"Name": NAME}, time
    assert [group["GroupName"] for group in found["SecurityGroups"]] == [NAME]
    assert [role["RoleName"] for role in rehearsal.boto("iam").list_roles()["Roles"]] == [f"{NAME}-host"]
    assert not rehearsal.boto("ec2").describe_addresses()["Addresses"]
