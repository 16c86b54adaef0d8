"""Emulated instances: hosts that boot, whose containers follow the API's state and the other way round."""

import json
from collections.abc import Callable

import docker
import pytest
from botocore.exceptions import ClientError
from docker.errors import NotFound

from tests.local_aws import Rehearsal
from tests.rehearsal.host import Host, wait_until


def _boot_id(host: Host) -> str:
    return host.run("cat /proc/sys/kernel/random/boot_id")


def test_a_host_boots_and_lets_the_key_pair_in(host: Host) -> None:
    assert host.run("systemctl is-system-running --wait") == "running"
    assert host.run("sudo id -un") == "root"


def test_its_private_address_is_the_one_the_api_names(host: Host) -> None:
    assert host.describe()["PrivateIpAddress"] in host.run("hostname -I").split()


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
    first_boot = _boot_id(host)

    ec2.stop_instances(InstanceIds=[host.instance_id])
    host.wait("stopped")
    assert engine.containers.get(f"{host.rehearsal.name}-{host.instance_id}").status == "exited"
    assert host.describe()["PublicIpAddress"] == host.address

    ec2.start_instances(InstanceIds=[host.instance_id])
    host.wait("running")
    assert host.run("cat kept; sudo cat /var/lib/docker/kept").split() == ["here", "here"]
    assert _boot_id(host) != first_boot


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


def test_power_off_inside_stops_the_instance(host: Host) -> None:
    host.run("sudo systemctl poweroff")
    host.wait("stopped")
    assert host.describe()["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    host.rehearsal.boto("ec2").start_instances(InstanceIds=[host.instance_id])
    host.wait("running")


def test_reboot_inside_and_by_the_api_boot_it_anew(host: Host) -> None:
    ec2 = host.rehearsal.boto("ec2")
    boots = [_boot_id(host)]
    for reboot in (
        lambda: host.run("sudo systemctl reboot"),
        lambda: ec2.reboot_instances(InstanceIds=[host.instance_id]),
    ):
        reboot()
        wait_until(lambda: _boot_id(host) not in boots)
        boots.append(_boot_id(host))
    assert host.describe()["State"]["Name"] == "running"


def test_terminate_removes_host_disk_and_hold_on_the_address(
    launch: Callable[[], Host], engine: docker.DockerClient
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


def test_an_elastic_address_moves_to_another_host(host: Host, launch: Callable[[], Host]) -> None:
    ec2 = host.rehearsal.boto("ec2")
    other = launch()
    spare = ec2.allocate_address(Domain="vpc")
    for one in (host, other):
        ec2.associate_address(
            AllocationId=spare["AllocationId"], InstanceId=one.instance_id, AllowReassociation=True
        )
        there = Host(one.instance_id, spare["PublicIp"], spare["AllocationId"], one.key, one.rehearsal)
        private_ip = one.describe()["PrivateIpAddress"]
        assert private_ip in there.run("hostname -I").split()
    ec2.associate_address(AllocationId=host.allocation_id, InstanceId=host.instance_id)
    ec2.terminate_instances(InstanceIds=[other.instance_id])
    other.wait("terminated")
    for allocation in (spare["AllocationId"], other.allocation_id):
        ec2.release_address(AllocationId=allocation)


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
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert "10.0.0." in found["StateReason"]["Message"]
