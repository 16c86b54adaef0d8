"""Emulated instances: hosts that boot, whose containers follow the API's state and the other way round."""

import json
from collections.abc import Callable
from typing import Any

import docker
import pytest
from botocore.exceptions import ClientError
from docker.errors import NotFound

from tests.local_aws import Rehearsal
from tests.rehearsal.host import Host, wait_until


def _boots_anew(host: Host, boots: list[str]) -> bool:
    try:
        return host.boot_id() not in boots
    except ConnectionError:  # cut off while it goes down
        return False


def _addresses_behind(elastic: Host) -> list[str]:
    """The addresses of whichever host has this one's Elastic IP."""
    try:
        return elastic.run("hostname -I").split()
    except ConnectionError:  # it is on the way
        return []


def test_a_host_boots_and_lets_the_key_pair_in(host: Host) -> None:
    assert host.run("systemctl is-system-running --wait") == "running"
    assert host.run("sudo id -un") == "root"


def test_its_private_address_is_the_one_the_api_names(host: Host) -> None:
    assert host.private_address() in host.run("hostname -I").split()


def test_its_elastic_address_is_the_one_the_api_names(host: Host) -> None:
    assert host.describe()["PublicIpAddress"] == host.address


def test_the_machine_is_seen_from_the_address_the_profile_names(host: Host, rehearsal: Rehearsal) -> None:
    client = host.run("echo $SSH_CLIENT").split()[0]
    assert f"{client}/32" == rehearsal.env["MATINEE_SSH_FROM"]


def test_it_takes_no_password(host: Host) -> None:
    assert "passwordauthentication no" in host.run("sudo sshd -T").splitlines()


def test_it_reaches_the_package_mirrors(host: Host) -> None:
    host.run("sudo apt-get -qq update && sudo apt-get -qq --download-only install hello")


def test_secrets_can_live_in_memory(host: Host) -> None:
    assert host.run("findmnt -no FSTYPE /run") == "tmpfs"


def test_stop_and_start_keep_disk_and_elastic_address(host: Host, engine: docker.DockerClient) -> None:
    ec2 = host.rehearsal.boto("ec2")
    host.run("echo here > kept; sudo sh -c 'echo here > /var/lib/docker/kept'; sync")
    first_boot = host.boot_id()

    ec2.stop_instances(InstanceIds=[host.instance_id])
    host.wait("stopped")
    assert engine.containers.get(f"{host.rehearsal.name}-{host.instance_id}").status == "exited"
    assert host.describe()["PublicIpAddress"] == host.address

    ec2.start_instances(InstanceIds=[host.instance_id])
    host.wait("running")
    assert host.run("cat kept; sudo cat /var/lib/docker/kept").split() == ["here", "here"]
    assert host.boot_id() != first_boot


def test_a_stopping_host_cannot_be_started_before_it_is_down(host: Host) -> None:
    ec2 = host.rehearsal.boto("ec2")
    host.run(
        "sudo systemd-run --quiet --property=ExecStop='/bin/sleep 4' --property=RemainAfterExit=yes true"
    )
    ec2.stop_instances(InstanceIds=[host.instance_id])

    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[host.instance_id])
    assert host.describe()["State"]["Name"] == "stopping"

    host.wait("stopped")
    ec2.start_instances(InstanceIds=[host.instance_id])
    host.wait("running")


def test_power_off_inside_stops_the_instance_until_it_is_started(host: Host) -> None:
    host.run("sudo systemctl --no-block poweroff")
    host.wait("stopped")
    assert host.describe()["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    host.rehearsal.boto("ec2").start_instances(InstanceIds=[host.instance_id])
    host.wait("running")
    assert host.run("systemctl is-system-running --wait") == "running"


def test_reboot_inside_and_by_the_api_boot_it_anew(host: Host) -> None:
    ec2 = host.rehearsal.boto("ec2")
    boots = [host.boot_id()]
    for reboot in (
        lambda: host.run("sudo systemctl --no-block reboot"),
        lambda: ec2.reboot_instances(InstanceIds=[host.instance_id]),
    ):
        reboot()
        wait_until(lambda: _boots_anew(host, boots))
        boots.append(host.boot_id())
    assert host.describe()["State"]["Name"] == "running"


def test_terminate_removes_host_disk_and_hold_on_the_address(
    launch: Callable[..., Host], engine: docker.DockerClient
) -> None:
    host = launch()
    ec2 = host.rehearsal.boto("ec2")
    name = f"{host.rehearsal.name}-{host.instance_id}"
    assert engine.volumes.get(f"{name}-docker")

    ec2.terminate_instances(InstanceIds=[host.instance_id])
    host.wait("terminated")

    with pytest.raises(NotFound):
        engine.containers.get(name)
    with pytest.raises(NotFound):
        engine.volumes.get(f"{name}-docker")
    ec2.release_address(AllocationId=host.allocation_id)


def test_an_elastic_address_moves_from_host_to_host(launch: Callable[..., Host]) -> None:
    first, second = launch(), launch()
    ec2 = first.rehearsal.boto("ec2")
    assert first.private_address() in first.run("hostname -I").split()

    ec2.associate_address(
        AllocationId=first.allocation_id, InstanceId=second.instance_id, AllowReassociation=True
    )

    wait_until(lambda: second.private_address() in _addresses_behind(first))
    assert second.describe()["PublicIpAddress"] == first.address
    assert first.describe()["PublicIpAddress"] not in (first.address, second.address)
    held = ec2.describe_addresses(AllocationIds=[second.allocation_id])["Addresses"][0]
    assert not held.get("InstanceId")
    ec2.terminate_instances(InstanceIds=[first.instance_id, second.instance_id])
    for host in (first, second):
        host.wait("terminated")
        ec2.release_address(AllocationId=host.allocation_id)


def test_metadata_needs_a_token(host: Host) -> None:
    url = "http://169.254.169.254/latest/meta-data/instance-id"
    assert host.run(f"curl -s -o /dev/null -w '%{{http_code}}' {url}") == "401"
    assert (
        host.run(f"curl -s -o /dev/null -w '%{{http_code}}' -H 'X-aws-ec2-metadata-token: no' {url}") == "401"
    )
    assert host.metadata("meta-data/instance-id") == host.instance_id


def test_metadata_describes_the_instance(host: Host) -> None:
    assert host.metadata("meta-data/placement/region") == "eu-central-1"
    assert host.metadata("meta-data/public-ipv4") == host.address
    assert (
        host.metadata("meta-data/public-keys/0/openssh-key")
        == host.key.with_suffix(".pub").read_text().strip()
    )
    assert json.loads(host.metadata("dynamic/instance-identity/document"))["instanceId"] == host.instance_id


def test_an_instance_in_another_vpc_fails_with_the_reason(rehearsal: Rehearsal) -> None:
    ec2 = rehearsal.boto("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    instance = ec2.run_instances(ImageId="ami-0deb13a0000000002", MinCount=1, MaxCount=1, SubnetId=subnet)
    instance_id = instance["Instances"][0]["InstanceId"]

    def found() -> dict[str, Any]:
        return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])

    wait_until(lambda: found()["State"]["Name"] == "terminated")
    assert "10.0.0." in found()["StateReason"]["Message"]
