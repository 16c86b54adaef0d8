"""stage_resources, against resources of every type that it lists."""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.modules.running import Client, Outcome, RunModule

TRUST = {"Version": "2012-10-17", "Statement": []}


def set_record(aws: Client, record: str, address: str) -> None:
    """Have a name lead to an address; a record is its zone and name with a slash between them."""
    zone, name = record.split("/")
    values = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": address}]}
    batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": values}]}
    aws("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)


def make_stage(aws: Client, cleanup: ExitStack, name: str, tags: dict[str, str]) -> dict[str, str]:
    """Make one resource of each type; return the name by which each is known."""
    ec2, ecr, iam, ssm, s3, route53 = map(aws, ("ec2", "ecr", "iam", "ssm", "s3", "route53"))
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]

    def tagged(kind: str, *more: dict[str, str]) -> dict[str, Any]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": [*listed, *more]}]}

    ec2.create_key_pair(KeyName=name, **tagged("key-pair"))
    cleanup.callback(ec2.delete_key_pair, KeyName=name)
    group = ec2.create_security_group(GroupName=name, Description="test", **tagged("security-group"))[
        "GroupId"
    ]
    cleanup.callback(ec2.delete_security_group, GroupId=group)
    zone = route53.create_hosted_zone(Name=f"{name}.example", CallerReference=name)["HostedZone"]["Id"]
    record = f"{zone.rpartition('/')[2]}/demo.{name}.example"
    address = ec2.allocate_address(Domain="vpc", **tagged("elastic-ip", {"Key": "Record", "Value": record}))
    cleanup.callback(ec2.release_address, AllocationId=address["AllocationId"])
    set_record(aws, record, address["PublicIp"])
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, **tagged("volume"))["VolumeId"]
    cleanup.callback(ec2.delete_volume, VolumeId=volume)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    instances = ec2.run_instances(
        ImageId=image, MinCount=2, MaxCount=2, **tagged("instance", {"Key": "Name", "Value": name})
    )["Instances"]
    first, second = (instance["InstanceId"] for instance in instances)
    cleanup.callback(ec2.terminate_instances, InstanceIds=[second])
    ec2.terminate_instances(InstanceIds=[first])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[first], WaiterConfig={"Delay": 1})
    ecr.create_repository(repositoryName=name, tags=listed)
    cleanup.callback(ecr.delete_repository, repositoryName=name)
    iam.create_user(UserName=name, Tags=listed)
    cleanup.callback(iam.delete_user, UserName=name)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=listed)
    cleanup.callback(iam.delete_role, RoleName=name)
    iam.create_instance_profile(InstanceProfileName=name, Tags=listed)
    cleanup.callback(iam.delete_instance_profile, InstanceProfileName=name)
    ssm.put_parameter(Name=f"/{name}/A", Value="1", Type="String", Tags=listed)
    cleanup.callback(ssm.delete_parameter, Name=f"/{name}/A")
    for bucket in (f"{name}-demo-backup", f"{name}-demo-of-somebody-else"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        cleanup.callback(s3.delete_bucket, Bucket=bucket)
    s3.put_bucket_tagging(Bucket=f"{name}-demo-backup", Tagging={"TagSet": listed})
    cloudwatch, sns, logs = map(aws, ("cloudwatch", "sns", "logs"))
    alarm = {"MetricName": "M", "Namespace": "N", "ComparisonOperator": "GreaterThanThreshold"}
    figures = {"Period": 60, "EvaluationPeriods": 1, "Threshold": 1, "Statistic": "Maximum"}
    cloudwatch.put_metric_alarm(AlarmName=f"{name}-demo/disk", Tags=listed, **alarm, **figures)
    cleanup.callback(cloudwatch.delete_alarms, AlarmNames=[f"{name}-demo/disk"])
    topic = sns.create_topic(Name=name, Tags=listed)["TopicArn"]
    cleanup.callback(sns.delete_topic, TopicArn=topic)
    logs.create_log_group(logGroupName=f"/{name}/demo", tags=tags)
    cleanup.callback(logs.delete_log_group, logGroupName=f"/{name}/demo")
    by_name = ("instance", "instance-profile", "key-pair", "repository", "role", "security-group", "user")
    return dict.fromkeys(by_name, name) | {
        "alarm": f"{name}-demo/disk",
        "bucket": f"{name}-demo-backup",
        "log-group": f"/{name}/demo",
        "topic": name,
        "elastic-ip": address["PublicIp"],
        "parameter": f"/{name}/A",
        "record": f"demo.{name}.example",
        "volume": volume,
    }


@pytest.fixture(scope="module")
def project() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def expected(aws: Client, project: str) -> Iterator[dict[str, str]]:
    """What the stage has; beside it stands another stage of the same project."""
    with ExitStack() as cleanup:
        aws("ec2").create_security_group(
            GroupName=f"{project}-other",
            Description="test",
            TagSpecifications=[
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": "Project", "Value": project}, {"Key": "Stage", "Value": "other"}],
                }
            ],
        )
        cleanup.callback(aws("ec2").delete_security_group, GroupName=f"{project}-other")
        # Somebody's own tags, which happen to be called as ours
        other = [{"Key": "Project", "Value": project}, {"Key": "Stage", "Value": "demo"}]
        aws("iam").create_user(UserName=f"{project}-other", Tags=other)
        cleanup.callback(aws("iam").delete_user, UserName=f"{project}-other")
        tags = {"Project": project, "Stage": "demo", "ManagedBy": "matinee"}
        yield make_stage(aws, cleanup, project, tags)


@pytest.fixture(scope="module")
def found(run_module: RunModule, expected: dict[str, str], project: str) -> Outcome:
    return run_module("stage_resources", {"project": project, "stage": "demo"})


def test_every_resource_of_the_stage_is_listed_and_no_other(found: Outcome, expected: dict[str, str]) -> None:
    listed = [(resource["type"], resource["name"]) for resource in found.result["resources"]]
    assert listed == sorted(expected.items())
    assert all(resource["tagged"] and not resource["adopted"] for resource in found.result["resources"])
    assert not found.changed


def test_ids_are_those_of_aws(aws: Client, found: Outcome) -> None:
    ids = {resource["type"]: resource["id"] for resource in found.result["resources"]}
    ec2 = aws("ec2")
    assert ec2.describe_instances(InstanceIds=[ids["instance"]])["Reservations"]
    assert ec2.describe_security_groups(GroupIds=[ids["security-group"]])["SecurityGroups"]
    assert ec2.describe_addresses(AllocationIds=[ids["elastic-ip"]])["Addresses"]
    assert ec2.describe_key_pairs(KeyPairIds=[ids["key-pair"]])["KeyPairs"]


def test_what_has_a_name_of_the_stage_is_listed_without_its_tags(
    run_module: RunModule, expected: dict[str, str], project: str
) -> None:
    names = {kind: [name] for kind, name in expected.items() if kind != "volume"}  # that has none
    names |= {
        "parameter": [f"/{project}"],
        "security-group": [f"{project}-other"],
        "user": [f"{project}-other"],
    }
    run = run_module("stage_resources", {"project": project, "stage": "none", "names": names})
    wanted = expected | {"security-group": f"{project}-other", "user": f"{project}-other"}
    # The names of these begin with the stage's
    others = ("alarm", "bucket", "log-group", "volume")
    wanted = {kind: name for kind, name in wanted.items() if kind not in others}
    assert {resource["type"]: resource["name"] for resource in run.result["resources"]} == wanted
    assert not any(resource["tagged"] for resource in run.result["resources"])


def test_what_was_adopted_says_so(
    run_module: RunModule, aws: Client, expected: dict[str, str], project: str
) -> None:
    mark = [{"Key": "Adopted", "Value": "true"}]
    aws("iam").tag_user(UserName=expected["user"], Tags=mark)
    aws("ssm").add_tags_to_resource(ResourceType="Parameter", ResourceId=expected["parameter"], Tags=mark)
    names = {"parameter": [f"/{project}"], "user": [expected["user"]]}
    run = run_module("stage_resources", {"project": project, "stage": "demo", "names": names})
    adopted = [resource["type"] for resource in run.result["resources"] if resource["adopted"]]
    assert adopted == ["parameter", "user"]
    assert len(run.result["resources"]) == len(expected)


def test_stage_without_resources_is_an_empty_list(run_module: RunModule, project: str) -> None:
    assert run_module("stage_resources", {"project": project, "stage": "none"}).result["resources"] == []


def test_record_that_leads_elsewhere_is_not_of_the_stage(
    run_module: RunModule, aws: Client, found: Outcome, project: str
) -> None:
    [record] = [resource["id"] for resource in found.result["resources"] if resource["type"] == "record"]
    set_record(aws, record, "192.0.2.1")
    again = run_module("stage_resources", {"project": project, "stage": "demo"})
    assert "record" not in [resource["type"] for resource in again.result["resources"]]
