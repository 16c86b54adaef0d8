#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a repository of Amazon ECR."""

DOCUMENTATION = r"""
---
module: ecr_repository
short_description: Make, configure, tag or remove an ECR repository
description:
  - Makes a repository of the Elastic Container Registry with its tags in one call, so that there is never one
    which does not say whose it is. M(community.aws.ecs_ecr) makes repositories but cannot tag them.
  - What an option does not name is left as it is, other tags that the repository may carry included.
author:
  - The Matinee authors
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  scan_on_push:
    description:
      - Whether ECR scans each image that is pushed for known vulnerabilities. A new repository's does.
    type: bool
  image_tag_mutability:
    description: Whether a tag may move to another image. In a new repository it may.
    type: str
    choices: [mutable, immutable]
  lifecycle_policy:
    description:
      - Rules after which ECR removes images by itself, as AWS documents them. V({}) removes the rules.
    type: dict
  tags:
    description: Tags that the repository must carry.
    type: dict
    default: {}
  state:
    description: With V(absent), the repository is removed.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: Remove a repository with the images in it. Without it, one that holds images is not removed.
    type: bool
    default: false
notes:
  - Needs the rights C(ecr:DescribeRepositories), C(ecr:ListTagsForResource) and C(ecr:GetLifecyclePolicy),
    and for what is to be changed C(ecr:CreateRepository), C(ecr:TagResource),
    C(ecr:PutImageScanningConfiguration), C(ecr:PutImageTagMutability), C(ecr:PutLifecyclePolicy),
    C(ecr:DeleteLifecyclePolicy) and C(ecr:DeleteRepository).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: A repository that keeps the ten newest images
  ecr_repository:
    name: ragstream-web
    scan_on_push: true
    lifecycle_policy:
      rules:
        - rulePriority: 1
          selection:
            tagStatus: any
            countType: imageCountMoreThan
            countNumber: 10
          action:
            type: expire
    tags:
      Project: ragstream
      Stage: demo

- name: Remove it with its images
  ecr_repository:
    name: ragstream-web
    state: absent
    force: true
"""

RETURN = r"""
repository:
  description: The repository; in check mode, as it would be. Empty when there is none.
  returned: success
  type: dict
  contains:
    uri:
      description: Where images are pushed to and pulled from. Not in check mode for one that is not there.
      type: str
      sample: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/ragstream-web
    scan_on_push:
      description: Whether ECR scans what is pushed.
      type: bool
      sample: true
    image_tag_mutability:
      description: V(mutable) or V(immutable).
      type: str
      sample: mutable
    lifecycle_policy:
      description: The rules after which ECR removes images; empty when there are none.
      type: dict
      sample: {}
    tags:
      description: All tags of the repository.
      type: dict
      sample:
        Project: ragstream
        Stage: demo
"""

import contextlib
import json
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

State = dict[str, Any]  # as this module returns it, without uri

NEW: State = {"scan_on_push": True, "image_tag_mutability": "mutable", "lifecycle_policy": {}, "tags": {}}


class EcrRepository:
    """The API calls on one repository."""

    def __init__(self, client: RetryingBotoClientWrapper, name: str) -> None:
        self.client = client
        self.name = name
        self.uri = self.arn = ""

    def describe(self) -> State | None:
        """Read what the repository is like; None when there is none."""
        try:
            [found] = self.client.describe_repositories(repositoryNames=[self.name], aws_retry=True)[
                "repositories"
            ]
        except is_boto3_error_code("RepositoryNotFoundException"):
            return None
        self.uri, self.arn = found["repositoryUri"], found["repositoryArn"]
        tags = self.client.list_tags_for_resource(resourceArn=self.arn, aws_retry=True)["tags"]
        try:
            rules = self.client.get_lifecycle_policy(repositoryName=self.name, aws_retry=True)
        except is_boto3_error_code("LifecyclePolicyNotFoundException"):
            rules = {"lifecyclePolicyText": "{}"}
        return {
            "scan_on_push": found.get("imageScanningConfiguration", {}).get("scanOnPush", False),
            "image_tag_mutability": found["imageTagMutability"].lower(),
            "lifecycle_policy": json.loads(rules["lifecyclePolicyText"]),
            "tags": boto3_tag_list_to_ansible_dict(tags),
        }

    def create(self, wanted: State) -> None:
        """Make it with all that AWS takes in one call, which is all but the rules."""
        made = self.client.create_repository(
            repositoryName=self.name,
            imageScanningConfiguration={"scanOnPush": wanted["scan_on_push"]},
            imageTagMutability=wanted["image_tag_mutability"].upper(),
            tags=ansible_dict_to_boto3_tag_list(wanted["tags"]),
            aws_retry=True,
        )["repository"]
        self.uri, self.arn = made["repositoryUri"], made["repositoryArn"]

    def update(self, before: State, wanted: State) -> None:
        """Change what differs."""
        if lacking := dict(wanted["tags"].items() - before["tags"].items()):
            self.client.tag_resource(
                resourceArn=self.arn, tags=ansible_dict_to_boto3_tag_list(lacking), aws_retry=True
            )
        if wanted["scan_on_push"] != before["scan_on_push"]:
            self.client.put_image_scanning_configuration(
                repositoryName=self.name,
                imageScanningConfiguration={"scanOnPush": wanted["scan_on_push"]},
                aws_retry=True,
            )
        if wanted["image_tag_mutability"] != before["image_tag_mutability"]:
            self.client.put_image_tag_mutability(
                repositoryName=self.name,
                imageTagMutability=wanted["image_tag_mutability"].upper(),
                aws_retry=True,
            )
        if wanted["lifecycle_policy"] != before["lifecycle_policy"]:
            if wanted["lifecycle_policy"]:
                self.client.put_lifecycle_policy(
                    repositoryName=self.name,
                    lifecyclePolicyText=json.dumps(wanted["lifecycle_policy"]),
                    aws_retry=True,
                )
            else:
                self.client.delete_lifecycle_policy(repositoryName=self.name, aws_retry=True)

    def delete(self, force: bool) -> None:
        """Remove it; one that is gone already is no error."""
        with contextlib.suppress(is_boto3_error_code("RepositoryNotFoundException")):
            self.client.delete_repository(repositoryName=self.name, force=force, aws_retry=True)


def plan(before: State | None, params: dict[str, Any]) -> State | None:
    """Say what the repository is to be like; None when there is to be none."""
    if params["state"] == "absent":
        return None
    start = before or NEW
    named = {key: params[key] for key in NEW.keys() - {"tags"} if params[key] is not None}
    tags = {str(key): str(value) for key, value in params["tags"].items()}
    return start | named | {"tags": start["tags"] | tags}


def apply(repository: EcrRepository, before: State | None, wanted: State | None, force: bool) -> None:
    """Bring the repository from what it is to what it is to be."""
    if wanted is None:
        repository.delete(force)
        return
    if before is None:
        repository.create(wanted)
        before = wanted | {"lifecycle_policy": {}}
    repository.update(before, wanted)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "scan_on_push": {"type": "bool"},
            "image_tag_mutability": {"type": "str", "choices": ["mutable", "immutable"]},
            "lifecycle_policy": {"type": "dict"},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name: str = module.params["name"]
    client = module.client("ecr", retry_decorator=AWSRetry.jittered_backoff())
    repository = EcrRepository(client, name)
    try:
        before = repository.describe()
        wanted = plan(before, module.params)
        if before != wanted and not module.check_mode:
            apply(repository, before, wanted, module.params["force"])
    except is_boto3_error_code("RepositoryNotEmptyException"):
        module.fail_json(msg=f"{name} holds images, so it was not removed. Set `force: true` to remove both.")
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    shown = {} if wanted is None else wanted | ({"uri": repository.uri} if repository.uri else {})
    module.exit_json(
        changed=before != wanted,
        repository=shown,
        diff={"before": before or {}, "after": wanted or {}},
    )


if __name__ == "__main__":
    main()
