#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: everything in AWS that belongs to a stage."""

DOCUMENTATION = r"""
---
module: stage_resources
short_description: List everything in AWS that belongs to a stage
description:
  - Lists the resources that carry the tags C(Project) and C(Stage) of a stage, of all the types that this
    project creates. Terminated instances are left out.
  - A bucket is also known by its name, which begins with the project's and the stage's. A DNS record carries
    no tags; the Elastic IP that it leads to carries its zone and name in the tag C(Record).
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
notes:
  - Needs the rights C(ec2:Describe*), C(ecr:DescribeRepositories), C(ecr:ListTagsForResource),
    C(ssm:DescribeParameters), C(iam:ListUsers), C(iam:GetUser), C(iam:ListRoles), C(iam:GetRole),
    C(iam:ListInstanceProfiles), C(iam:GetInstanceProfile), C(s3:ListAllMyBuckets), C(s3:GetBucketTagging)
    and, where there is a record, C(route53:ListResourceRecordSets).
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
        - One of V(bucket), V(elastic-ip), V(instance), V(instance-profile), V(key-pair), V(parameter),
          V(record), V(repository), V(role), V(security-group), V(user) and V(volume).
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
"""

import contextlib
from collections.abc import Callable, Iterator
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
Resource = dict[str, str]
Connect = Callable[[str], RetryingBotoClientWrapper]

# Type, operation, and where in its answer id and name are. These operations filter by tag themselves.
NAME_TAG = "Tags[?Key=='Name'].Value | [0]"
EC2_TYPES = (
    (
        "instance",
        "describe_instances",
        f"Reservations[].Instances[?State.Name != 'terminated'][].[InstanceId, {NAME_TAG}]",
    ),
    ("volume", "describe_volumes", f"Volumes[].[VolumeId, {NAME_TAG}]"),
    ("security-group", "describe_security_groups", "SecurityGroups[].[GroupId, GroupName]"),
    ("key-pair", "describe_key_pairs", "KeyPairs[].[KeyPairId, KeyName]"),
    ("elastic-ip", "describe_addresses", "Addresses[].[AllocationId, PublicIp]"),
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


def carries(tags: list[dict[str, str]], wanted: Tags) -> bool:
    """Tell whether tags as AWS lists them contain the wanted ones."""
    return wanted.items() <= boto3_tag_list_to_ansible_dict(tags).items()


def ec2_filters(tags: Tags) -> list[dict[str, Any]]:
    """Say to EC2 which tags are wanted."""
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def ec2_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find what EC2 has."""
    for kind, operation, where in EC2_TYPES:
        answer = read(connect("ec2"), operation, Filters=ec2_filters(tags))
        for identity, name in jmespath.search(where, answer) or []:
            yield {"type": kind, "id": identity, "name": name or identity}


def ecr_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find the image repositories."""
    client = connect("ecr")
    for repository in read(client, "describe_repositories")["repositories"]:
        arn = repository["repositoryArn"]
        if carries(client.list_tags_for_resource(resourceArn=arn, aws_retry=True)["tags"], tags):
            yield {"type": "repository", "id": arn, "name": repository["repositoryName"]}


def ssm_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find the parameters."""
    filters = [{"Key": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    for parameter in read(connect("ssm"), "describe_parameters", ParameterFilters=filters)["Parameters"]:
        yield {"type": "parameter", "id": parameter["Name"], "name": parameter["Name"]}


def iam_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find identities. One that goes away meanwhile is not there."""
    client = connect("iam")
    for kind, list_operation, where, get_operation, argument in IAM_TYPES:
        for name in jmespath.search(where, read(client, list_operation)):
            try:
                answer = read(client, get_operation, **{argument: name})
            except is_boto3_error_code("NoSuchEntity"):
                continue
            if carries(jmespath.search("*.Tags | [0]", answer) or [], tags):
                yield {"type": kind, "id": name, "name": name}


def s3_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find the buckets, by name first: S3 can only be asked for the tags of one at a time."""
    client = connect("s3")
    for bucket in read(client, "list_buckets", Prefix=f"{tags['Project']}-{tags['Stage']}-")["Buckets"]:
        name = bucket["Name"]
        try:
            found = client.get_bucket_tagging(Bucket=name, aws_retry=True)["TagSet"]
        except is_boto3_error_code(["NoSuchTagSet", "NoSuchBucket"]):
            continue
        if carries(found, tags):
            yield {"type": "bucket", "id": name, "name": name}


def route53_resources(connect: Connect, tags: Tags) -> Iterator[Resource]:
    """Find the records that still lead to the address which is tagged with them."""
    for address in read(connect("ec2"), "describe_addresses", Filters=ec2_filters(tags))["Addresses"]:
        record = boto3_tag_list_to_ansible_dict(address["Tags"]).get("Record")
        if not record:
            continue
        zone, _, name = record.partition("/")
        try:
            [*found] = connect("route53").list_resource_record_sets(
                HostedZoneId=zone, StartRecordName=name, StartRecordType="A", MaxItems="1", aws_retry=True
            )["ResourceRecordSets"]
        except is_boto3_error_code("NoSuchHostedZone"):
            continue
        values = [{"Value": address["PublicIp"]}]
        if [(one["Name"], one["Type"], one.get("ResourceRecords")) for one in found] == [
            (f"{name}.", "A", values)
        ]:
            yield {"type": "record", "id": record, "name": name}


FINDERS = (ec2_resources, ecr_resources, ssm_resources, iam_resources, s3_resources, route53_resources)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "stage": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    tags = {"Project": module.params["project"], "Stage": module.params["stage"]}

    @cache
    def connect(service: str) -> RetryingBotoClientWrapper:
        return module.client(service, retry_decorator=AWSRetry.jittered_backoff())

    try:
        resources = [resource for find in FINDERS for resource in find(connect, tags)]
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(resources=sorted(resources, key=lambda resource: (resource["type"], resource["name"])))


if __name__ == "__main__":
    main()
