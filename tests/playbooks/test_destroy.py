"""Tearing down as a careful owner does: no data lost by accident, what is left is named."""

import configparser
import json

import pytest

from tests.checkout import Checkout, words
from tests.interrupt import holdings
from tests.local_aws import Rehearsal

CONFIRMED = ("-e", "confirm=ragstream-demo")
BUCKET = "ragstream-demo-backup-123456789012"


@pytest.fixture(scope="module")
def stage(rehearsal: Rehearsal, checkout: Checkout) -> Checkout:
    """All that a stage has in AWS, and a bucket that somebody made by hand under the name of its backups."""
    checkout.passes("playbooks/provision.yml")
    where = {"LocationConstraint": "eu-central-1"}
    rehearsal.boto("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    rehearsal.boto("s3").put_object(Bucket=BUCKET, Key="precious", Body=b"x")
    return checkout


def test_data_are_not_lost_for_want_of_a_word(rehearsal: Rehearsal, stage: Checkout) -> None:
    before = holdings(rehearsal)
    run = stage.play("destroy.yml", *CONFIRMED, "-e", "last_backup=")
    assert run.status != 0
    assert "Nothing was destroyed. The app's data are on the disk of the machine" in words(run.output)
    assert holdings(rehearsal) == before


def test_check_mode_changes_nothing(rehearsal: Rehearsal, stage: Checkout) -> None:
    before = holdings(rehearsal)
    assert stage.passes("destroy.yml", "--check").changed > 5
    assert holdings(rehearsal) == before


def test_backup_that_fails_ends_it(rehearsal: Rehearsal, stage: Checkout) -> None:
    before = holdings(rehearsal)
    run = stage.play("destroy.yml", *CONFIRMED, "-e", "last_backup=true")
    assert run.status != 0
    assert f"There is a bucket {BUCKET} that was not made here and is not empty" in words(run.output)
    assert holdings(rehearsal) == before


def attach_disk(rehearsal: Rehearsal) -> str:
    """Give the one machine another disk, as somebody does who needs room; returns its number."""
    ec2 = rehearsal.boto("ec2")
    [reservation] = ec2.describe_instances()["Reservations"]
    [machine] = reservation["Instances"]
    disk = str(
        ec2.create_volume(Size=20, AvailabilityZone=machine["Placement"]["AvailabilityZone"])["VolumeId"]
    )
    ec2.attach_volume(Device="/dev/sdf", InstanceId=machine["InstanceId"], VolumeId=disk)
    return disk


def test_what_is_left_is_named_with_its_price(rehearsal: Rehearsal, stage: Checkout) -> None:
    disk = attach_disk(rehearsal)
    iam = rehearsal.boto("iam")
    iam.create_user(UserName="careless")
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ec2:ReleaseAddress", "Resource": "*"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="careless", PolicyName="rights", PolicyDocument=policy)
    key = iam.create_access_key(UserName="careless")["AccessKey"]
    credentials = configparser.ConfigParser()
    credentials["rehearsal"] = {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
    file = stage.path.parent / "careless"
    with file.open("w") as target:
        credentials.write(target)
    environment = stage.environment | {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    try:
        run = stage.play("destroy.yml", *CONFIRMED, environment=environment)
    finally:
        iam.delete_access_key(UserName="careless", AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName="careless", PolicyName="rights")
        iam.delete_user(UserName="careless")
    said = words(run.output)
    assert run.status != 0
    assert "Run destroy.yml again. Address: " in said
    assert "ReleaseAddress" in said
    assert f"elastic-ip {address['PublicIp']}" in said.partition("Still there:")[2]
    assert "address that is left" in said
    # That is no failure, but nobody else would tell
    assert f"Kept: volume {disk}, 20 GiB" in said
    assert "disk that is left" in said
    rehearsal.boto("ec2").delete_volume(VolumeId=disk)


def test_again_removes_the_rest_and_leaves_alone_what_is_not_ours(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    run = stage.passes("destroy.yml", *CONFIRMED)
    assert "Nothing that carries the stage's tags is left." in words(run.output)
    assert f"Not made here, and left alone: bucket {BUCKET}" in words(run.output)
    assert holdings(rehearsal) == {"bucket": 1}
    assert not rehearsal.boto("ssm").describe_parameters()["Parameters"]  # the lock is gone, too
    assert stage.passes("destroy.yml", *CONFIRMED).changed == 0
    rehearsal.boto("s3").delete_object(Bucket=BUCKET, Key="precious")
    rehearsal.boto("s3").delete_bucket(Bucket=BUCKET)
