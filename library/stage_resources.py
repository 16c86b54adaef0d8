#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: everything in AWS that belongs to a stage."""

DOCUMENTATION = r"""
---
module: stage_resources
short_description: List everything in AWS that belongs to a stage
description:
  - Lists the resources that carry the tags of a stage (C(Project), C(Stage) and C(ManagedBy=matinee)), of all
    the types that this project creates. Terminated instances are left out.
  - With O(names), also those that have a name which the stage uses, whatever tags they carry.
  - A bucket, an alarm or a log group is only found if its name begins with the project's and the stage's. A
    budget is only found by its name. A DNS record carries no tags; the Elastic IP that it leads to carries
    its zone and name in the tag C(Record).
  - Reads only. EC2, ECR, Parameter Store and S3 are read in one region; IAM and Route 53 have no regions.
author:
  - The Matinee authors
options:
  project:
    description: Value of the tag C(Project).
    type: str
    required: true
  stage:
    description: Value of the tag C(Stage).
    type: str
    required: true
  names:
    description:
      - Names that the stage uses, a list for each type of resource (see RV(resources.type)).
      - An instance, a volume or an Elastic IP has its name in the tag C(Name); an Elastic IP is also known by
        its address. A parameter is also known by a path above it, a record by its domain.
    type: dict
    default: {}
notes:
  - Needs the rights C(ec2:Describe*), C(ecr:DescribeRepositories), C(ecr:ListTagsForResource),
    C(ssm:DescribeParameters), C(iam:ListUsers), C(iam:GetUser), C(iam:ListRoles), C(iam:GetRole),
    C(iam:ListInstanceProfiles), C(iam:GetInstanceProfile), C(s3:ListAllMyBuckets), C(s3:GetBucketTagging),
    C(cloudwatch:DescribeAlarms), C(cloudwatch:ListTagsForResource), C(sns:ListTopics),
    C(sns:ListTagsForResource), C(logs:DescribeLogGroups), C(logs:ListTagsForResource)
    and, where there is a record, C(route53:ListResourceRecordSets); to find one by its name,
    C(route53:ListHostedZones). A budget is only found with C(budgets:ViewBudget),
    C(budgets:ListTagsForResource) and C(sts:GetCallerIdentity).
  - IAM cannot be searched by tag, so this reads every user, role and instance profile of the account.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Find what the demo stage consists of
  stage_resources:
    project: ragstream
    stage: demo
  register: found

- name: Find also what has such a name without the tags
  stage_resources:
    project: ragstream
    stage: demo
    names:
      repository: [ragstream-web]
      elastic-ip: [ragstream-demo]
  register: found

- name: Show it
  ansible.builtin.debug:
    msg: "{{ item.type }} {{ item.name }}"
  loop: "{{ found.resources }}"
"""

RETURN = r"""
resources:
  description: The resources, sorted by type and name. Empty when there are none.
  returned: success
  type: list
  elements: dict
  contains:
    type:
      description:
        - One of V(alarm), V(bucket), V(budget), V(elastic-ip), V(instance), V(instance-profile),
          V(key-pair), V(lock), V(log-group), V(oidc-provider), V(parameter), V(record), V(repository),
          V(role), V(security-group), V(topic), V(user) and V(volume).
      type: str
      sample: elastic-ip
    id:
      description:
        - What AWS identifies it by. For IAM, ECR, Parameter Store and S3 that is the name or the ARN, for a
          record its zone and name with a slash between them.
      type: str
      sample: eipalloc-0b263919b6498b123
    name:
      description:
        - What people call it. The address of an Elastic IP; for an instance or a volume the tag C(Name), or
          the id without one.
      type: str
      sample: 203.0.113.25
    tagged:
      description: Whether it carries the stage's tags. If not, it was found by its name.
      type: bool
      sample: true
    adopted:
      description: Whether it was there before the stage and was taken over, which the tag C(Adopted) says.
      type: bool
      sample: false
    owner:
      description: Which other stage it belongs to, as its tags say; empty for none. Not known of parameters.
      type: str
      sample: ""
    used_by:
      description: The other stages that use it, too, each of which a tag C(UsedBy:stage) names.
      type: list
      elements: str
      sample: [ragstream-staging]
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    import jmespath
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

Tags = dict[str, str]
Filters = list[dict[str, Any]]

USED_BY = "UsedBy:"


@dataclass(frozen=True)
class Resource:
    """Something that may be of the stage; its tags or its name say whether it is."""

    type: str
    id: str
    name: str
    tags: Tags = field(hash=False)


@dataclass(frozen=True)
class Search:
    """What is looked for, and how AWS is asked."""

    connect: Callable[[str], RetryingBotoClientWrapper]
    tags: Tags
    names: dict[str, list[str]]

    def tagged(self, resource: Resource) -> bool:
        """Tell whether a resource carries the stage's tags."""
        return self.tags.items() <= resource.tags.items()

    def named(self, resource: Resource) -> bool:
        """Tell whether a resource has one of the names."""
        names = self.names.get(resource.type, [])
        if resource.type == "parameter" and any(resource.name.startswith(f"{path}/") for path in names):
            return True
        return not {resource.name, resource.tags.get("Name")}.isdisjoint(names)


# Type, operation, where in its answer id, name and tags are, and the filter that knows the name
NAME_TAG = "Tags[?Key=='Name'].Value | [0]"
EC2_TYPES = (
    (
        "instance",
        "describe_instances",
        f"Reservations[].Instances[?State.Name != 'terminated'][].[InstanceId, {NAME_TAG}, Tags]",
        "tag:Name",
    ),
    ("volume", "describe_volumes", f"Volumes[].[VolumeId, {NAME_TAG}, Tags]", "tag:Name"),
    (
        "security-group",
        "describe_security_groups",
        "SecurityGroups[].[GroupId, GroupName, Tags]",
        "group-name",
    ),
    ("key-pair", "describe_key_pairs", "KeyPairs[].[KeyPairId, KeyName, Tags]", "key-name"),
    ("elastic-ip", "describe_addresses", "Addresses[].[AllocationId, PublicIp, Tags]", "tag:Name"),
    ("elastic-ip", "describe_addresses", "Addresses[].[AllocationId, PublicIp, Tags]", "public-ip"),
)
# Type, operation to list them, where in its answer the names are, operation to read one, and its argument
IAM_TYPES = (
    ("user", "list_users", "Users[].UserName", "get_user", "UserName"),
    # AWS makes the roles of its services; nobody else can tag them
    (
        "role",
        "list_roles",
        "Roles[?!starts_with(Path, '/aws-service-role/')].RoleName",
        "get_role",
        "RoleName",
    ),
    (
        "instance-profile",
        "list_instance_profiles",
        "InstanceProfiles[].InstanceProfileName",
        "get_instance_profile",
        "InstanceProfileName",
    ),
)


@AWSRetry.jittered_backoff()
def read(client: RetryingBotoClientWrapper, operation: str, **arguments: object) -> dict[str, Any]:
    """Call an operation and return all pages of its answer as one."""
    if client.can_paginate(operation):
        return client.get_paginator(operation).paginate(**arguments).build_full_result()
    return getattr(client, operation)(**arguments)


def as_tags(listed: list[dict[str, str]] | None) -> Tags:
    """Turn tags as AWS lists them into a dictionary."""
    return boto3_tag_list_to_ansible_dict(listed or [])


def ec2_resources(search: Search) -> Iterator[Resource]:
    """Find what EC2 has. Its operations filter themselves."""
    by_tag = [{"Name": f"tag:{key}", "Values": [value]} for key, value in search.tags.items()]
    for kind, operation, where, name_filter in EC2_TYPES:
        names = search.names.get(kind)
        by_name = [{"Name": name_filter, "Values": names}] if names else None
        for filters in filter(None, (by_tag, by_name)):
            answer = read(search.connect("ec2"), operation, Filters=filters)
            for identity, name, tags in jmespath.search(where, answer) or []:
                yield Resource(kind, identity, name or identity, as_tags(tags))


def ecr_resources(search: Search) -> Iterator[Resource]:
    """Find the image repositories."""
    client = search.connect("ecr")
    for repository in read(client, "describe_repositories")["repositories"]:
        arn = repository["repositoryArn"]
        tags = client.list_tags_for_resource(resourceArn=arn, aws_retry=True)["tags"]
        yield Resource("repository", arn, repository["repositoryName"], as_tags(tags))


def ssm_resources(search: Search) -> Iterator[Resource]:
    """Find the parameters, and the lock, which is kept in some. Their tags can be asked for, not read."""
    lock = f"/{search.tags['Project']}/{search.tags['Stage']}/lock/"

    def by_tag(tags: Tags) -> tuple[Tags, Filters]:
        return tags, [{"Key": f"tag:{key}", "Values": [value]} for key, value in tags.items()]

    questions = [by_tag(search.tags | {"Adopted": "true"}), by_tag(search.tags)]
    if names := search.names.get("parameter"):
        questions.append(({}, [{"Key": "Name", "Option": "Equals", "Values": names}]))
        questions.append(({}, [{"Key": "Path", "Option": "Recursive", "Values": names}]))
    for tags, filters in questions:
        answer = read(search.connect("ssm"), "describe_parameters", ParameterFilters=filters)
        for parameter in answer["Parameters"]:
            name = parameter["Name"]
            yield Resource("lock" if name.startswith(lock) else "parameter", name, name, tags)


def iam_resources(search: Search) -> Iterator[Resource]:
    """Find identities. One that goes away meanwhile is not there."""
    client = search.connect("iam")
    for kind, list_operation, where, get_operation, argument in IAM_TYPES:
        for name in jmespath.search(where, read(client, list_operation)):
            try:
                answer = read(client, get_operation, **{argument: name})
            except is_boto3_error_code("NoSuchEntity"):
                continue
            yield Resource(kind, name, name, as_tags(jmespath.search("*.Tags | [0]", answer)))


def provider_resources(search: Search) -> Iterator[Resource]:
    """Find the OIDC providers made by this project that no role outside the stage trusts: they are shared."""
    client = search.connect("iam")
    arns = jmespath.search("OpenIDConnectProviderList[].Arn", read(client, "list_open_id_connect_providers"))
    roles = read(client, "list_roles")["Roles"] if arns else []
    for arn in arns:
        try:
            found = client.get_open_id_connect_provider(OpenIDConnectProviderArn=arn, aws_retry=True)
            trusting = [
                role["RoleName"] for role in roles if arn in json.dumps(role["AssumeRolePolicyDocument"])
            ]
            theirs = [client.get_role(RoleName=name, aws_retry=True)["Role"].get("Tags") for name in trusting]
        except is_boto3_error_code("NoSuchEntity"):
            continue
        of_stage = all(search.tags.items() <= as_tags(tags).items() for tags in theirs)
        if of_stage and as_tags(found.get("Tags")).get("ManagedBy") == "matinee":
            yield Resource("oidc-provider", arn, arn.partition("/")[2], search.tags)


def s3_resources(search: Search) -> Iterator[Resource]:
    """Find the buckets, by name first: S3 can only be asked for the tags of one at a time."""
    client = search.connect("s3")
    prefix = f"{search.tags['Project']}-{search.tags['Stage']}-"
    for bucket in read(client, "list_buckets", Prefix=prefix)["Buckets"]:
        name = bucket["Name"]
        try:
            tags = client.get_bucket_tagging(Bucket=name, aws_retry=True)["TagSet"]
        except is_boto3_error_code("NoSuchTagSet"):
            tags = []
        except is_boto3_error_code("NoSuchBucket"):
            continue
        yield Resource("bucket", name, name, as_tags(tags))


def route53_resources(search: Search) -> Iterator[Resource]:
    """Find the records that still lead to the address which is tagged with them, and those of a domain."""
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in search.tags.items()]
    for address in read(search.connect("ec2"), "describe_addresses", Filters=filters)["Addresses"]:
        zone, _, name = as_tags(address["Tags"]).get("Record", "").partition("/")
        if zone and address_of(search, zone, name) == [{"Value": address["PublicIp"]}]:
            yield Resource("record", f"{zone}/{name}", name, search.tags)
    if names := search.names.get("record"):
        for zone in read(search.connect("route53"), "list_hosted_zones")["HostedZones"]:
            identity = zone["Id"].rpartition("/")[2]
            for name in names:
                inside = f".{name}.".endswith(f".{zone['Name']}") and not zone["Config"]["PrivateZone"]
                if inside and address_of(search, identity, name) is not None:
                    yield Resource("record", f"{identity}/{name}", name, {})


def address_of(search: Search, zone: str, name: str) -> list[dict[str, str]] | None:
    """Return the values of a name's A record, or None when there is none."""
    try:
        found = search.connect("route53").list_resource_record_sets(
            HostedZoneId=zone, StartRecordName=name, StartRecordType="A", MaxItems="1", aws_retry=True
        )["ResourceRecordSets"]
    except is_boto3_error_code("NoSuchHostedZone"):
        return None
    is_it = found and (found[0]["Name"], found[0]["Type"]) == (f"{name}.", "A")
    return found[0].get("ResourceRecords", []) if is_it else None


def alarm_resources(search: Search) -> Iterator[Resource]:
    """Find the alarms, by the beginning of their names: CloudWatch can only be asked for the tags of one."""
    client = search.connect("cloudwatch")
    prefix = f"{search.tags['Project']}-{search.tags['Stage']}/"
    for alarm in read(client, "describe_alarms", AlarmNamePrefix=prefix)["MetricAlarms"]:
        tags = client.list_tags_for_resource(ResourceARN=alarm["AlarmArn"], aws_retry=True)["Tags"]
        yield Resource("alarm", alarm["AlarmName"], alarm["AlarmName"], as_tags(tags))


def topic_resources(search: Search) -> Iterator[Resource]:
    """Find the topics. One that goes away meanwhile is not there."""
    client = search.connect("sns")
    for topic in read(client, "list_topics").get("Topics", []):
        arn = topic["TopicArn"]
        try:
            tags = client.list_tags_for_resource(ResourceArn=arn, aws_retry=True)["Tags"]
        except is_boto3_error_code(["NotFound", "ResourceNotFound"]):
            continue
        yield Resource("topic", arn, arn.rpartition(":")[2], as_tags(tags))


def log_group_resources(search: Search) -> Iterator[Resource]:
    """Find the log groups, by name first."""
    client = search.connect("logs")
    prefix = f"/{search.tags['Project']}/{search.tags['Stage']}"
    for group in read(client, "describe_log_groups", logGroupNamePrefix=prefix)["logGroups"]:
        arn = group["arn"].removesuffix(":*")
        tags: Tags = client.list_tags_for_resource(resourceArn=arn, aws_retry=True)["tags"]
        yield Resource("log-group", group["logGroupName"], group["logGroupName"], tags)


def budget_resources(search: Search) -> Iterator[Resource]:
    """Find the budgets of the names: the account's others are none of the stage's business.

    Many accounts keep their users from billing. Whoever may not look at budgets has made none.
    """
    if names := search.names.get("budget"):
        client = search.connect("budgets")
        account = search.connect("sts").get_caller_identity(aws_retry=True)["Account"]
    for name in names or []:
        arn = f"arn:aws:budgets::{account}:budget/{name}"
        try:
            client.describe_budget(AccountId=account, BudgetName=name, aws_retry=True)
            tags = client.list_tags_for_resource(ResourceARN=arn, aws_retry=True).get("ResourceTags")
        except is_boto3_error_code(["NotFoundException", "AccessDeniedException"]):
            continue
        yield Resource("budget", name, name, as_tags(tags))


FINDERS = (
    ec2_resources,
    ecr_resources,
    ssm_resources,
    iam_resources,
    provider_resources,
    s3_resources,
    route53_resources,
    alarm_resources,
    topic_resources,
    log_group_resources,
    budget_resources,
)


def owner(tags: Tags) -> str:
    """Name the other stage whose tags these are; empty when they are no stage's."""
    if tags.get("ManagedBy") != "matinee":
        return ""
    return f"project {tags.get('Project')}, stage {tags.get('Stage')}"


def users(tags: Tags) -> list[str]:
    """Name the stages that use what is another's."""
    return sorted(key.removeprefix(USED_BY) for key in tags if key.startswith(USED_BY))


def find(search: Search) -> list[dict[str, Any]]:
    """Find what is of the stage, each resource once: as first found, if several ways lead to it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for finder in FINDERS:
        for resource in finder(search):
            tagged = search.tagged(resource)
            if tagged or search.named(resource):
                found.setdefault(
                    (resource.type, resource.id),
                    {
                        "type": resource.type,
                        "id": resource.id,
                        "name": resource.name,
                        "tagged": tagged,
                        "adopted": resource.tags.get("Adopted") == "true",
                        "owner": "" if tagged else owner(resource.tags),
                        "used_by": users(resource.tags),
                    },
                )
    return sorted(found.values(), key=lambda resource: (resource["type"], resource["name"]))


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "stage": {"type": "str", "required": True},
            "names": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    tags = {"Project": module.params["project"], "Stage": module.params["stage"], "ManagedBy": "matinee"}

    @cache
    def connect(service: str) -> RetryingBotoClientWrapper:
        return module.client(service, retry_decorator=AWSRetry.jittered_backoff())

    try:
        resources = find(Search(connect, tags, module.params["names"]))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(resources=resources)


if __name__ == "__main__":
    main()
