#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: tags of resources of several services."""

DOCUMENTATION = r"""
---
module: resource_tags
short_description: Keep tags on resources, whatever service they are of
description:
  - Sets tags on resources of EC2, ECR, IAM and Parameter Store as M(stage_resources) lists them, or takes
    them off. amazon.aws can do so for EC2 alone, and for the others only while it changes more than tags.
  - Other tags that a resource may carry are left alone.
author:
  - The Matinee authors
options:
  resources:
    description:
      - The resources, of the types V(elastic-ip), V(instance), V(parameter), V(repository) and V(user).
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description: Type of the resource.
        type: str
        required: true
      id:
        description: What AWS identifies it by, as M(stage_resources) gives it.
        type: str
        required: true
      name:
        description: What people call it.
        type: str
        required: true
  tags:
    description: Tags that each must carry, or must not carry.
    type: dict
    required: true
  state:
    description:
      - With V(absent), these tags are taken off where they have these values.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Needs the right to list, to set and to take off tags in the service of each resource.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Say whose address it is
  resource_tags:
    resources:
      - type: elastic-ip
        id: eipalloc-0b263919b6498b123
        name: 203.0.113.25
    tags:
      Project: ragstream
      Stage: demo
"""

RETURN = r"""
resources:
  description: The type and name of each resource whose tags were changed; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [elastic-ip 203.0.113.25]
"""

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

Tags = dict[str, str]


@dataclass(frozen=True)
class Service:
    """How one service reads, sets and takes off tags.

    Attributes:
        name: of the service.
        read, put, remove: its operations.
        tags_in: the name of the tags in the answer and when they are set.
        keys_in: the name of the keys when they are taken off.
    """

    name: str
    read: str
    put: str
    remove: str
    tags_in: str
    keys_in: str

    def which(self, identity: str) -> dict[str, Any]:
        """Name a resource in a request."""
        requests: dict[str, dict[str, Any]] = {
            "ec2": {"Resources": [identity]},
            "ecr": {"resourceArn": identity},
            "iam": {"UserName": identity},
            "ssm": {"ResourceType": "Parameter", "ResourceId": identity},
        }
        return requests[self.name]


EC2 = Service("ec2", "describe_tags", "create_tags", "delete_tags", "Tags", "Tags")
SERVICES = {
    "elastic-ip": EC2,
    "instance": EC2,
    "parameter": Service(
        "ssm",
        "list_tags_for_resource",
        "add_tags_to_resource",
        "remove_tags_from_resource",
        tags_in="Tags",
        keys_in="TagKeys",
    ),
    "repository": Service(
        "ecr", "list_tags_for_resource", "tag_resource", "untag_resource", tags_in="tags", keys_in="tagKeys"
    ),
    "user": Service("iam", "list_user_tags", "tag_user", "untag_user", tags_in="Tags", keys_in="TagKeys"),
}


def read(client: RetryingBotoClientWrapper, service: Service, identity: str) -> Tags:
    """Return the tags of a resource."""
    if service is EC2:
        which: dict[str, Any] = {"Filters": [{"Name": "resource-id", "Values": [identity]}]}
    else:
        which = service.which(identity)
    answer = getattr(client, service.read)(aws_retry=True, **which)
    return boto3_tag_list_to_ansible_dict(answer["TagList" if service.name == "ssm" else service.tags_in])


def ensure(
    client: RetryingBotoClientWrapper, service: Service, identity: str, wanted: Tags, state: str, check: bool
) -> bool:
    """Bring the tags of a resource into the wanted state; tell whether that changes something."""
    carried = read(client, service, identity)
    if state == "present":
        changes = dict(wanted.items() - carried.items())
        operation, what = service.put, {service.tags_in: ansible_dict_to_boto3_tag_list(changes)}
    else:
        changes = dict(wanted.items() & carried.items())
        keys = [{"Key": key} for key in changes] if service is EC2 else list(changes)
        operation, what = service.remove, {service.keys_in: keys}
    if changes and not check:
        getattr(client, operation)(aws_retry=True, **service.which(identity), **what)
    return bool(changes)


def main() -> None:
    """Run the module."""
    resource = {name: {"type": "str", "required": True} for name in ("type", "id", "name")}
    module = AnsibleAWSModule(
        argument_spec={
            "resources": {"type": "list", "elements": "dict", "required": True, "options": resource},
            "tags": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    tags = {str(key): str(value) for key, value in module.params["tags"].items()}
    resources, state = module.params["resources"], module.params["state"]
    if strange := sorted({one["type"] for one in resources} - SERVICES.keys()):
        module.fail_json(
            msg=f"Resources of the type {', '.join(strange)} are not tagged by this module. "
            f"It knows {', '.join(sorted(SERVICES))}."
        )

    @cache
    def connect(service: str) -> RetryingBotoClientWrapper:
        return module.client(service, retry_decorator=AWSRetry.jittered_backoff())

    changed = []
    try:
        for one in resources:
            service = SERVICES[one["type"]]
            if ensure(connect(service.name), service, one["id"], tags, state, module.check_mode):
                changed.append(f"{one['type']} {one['name']}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(changed=bool(changed), resources=changed)


if __name__ == "__main__":
    main()
