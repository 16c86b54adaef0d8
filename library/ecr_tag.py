#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: tags of an ECR repository."""

DOCUMENTATION = r"""
---
module: ecr_tag
short_description: Keep tags on an ECR repository
description:
  - Sets tags on a repository of the Elastic Container Registry. M(community.aws.ecs_ecr) makes
    repositories but cannot tag them.
  - Other tags that the repository may carry are left alone.
author:
  - The Matinee authors
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  tags:
    description: Tags that the repository must carry.
    type: dict
    required: true
notes:
  - In check mode, a repository that is not there counts as one without tags.
  - Needs the rights C(ecr:DescribeRepositories), C(ecr:ListTagsForResource) and C(ecr:TagResource).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Say whose repository it is
  ecr_tag:
    name: ragstream-web
    tags:
      Project: ragstream
      Stage: demo
"""

RETURN = r"""
tags:
  description: All tags of the repository; in check mode, those it would have.
  returned: success
  type: dict
  sample:
    Project: ragstream
    Stage: demo
"""

import contextlib

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


def describe(client: RetryingBotoClientWrapper, name: str) -> tuple[str | None, Tags]:
    """Return a repository's ARN and tags, or (None, {}) when there is none of this name."""
    try:
        found = client.describe_repositories(repositoryNames=[name], aws_retry=True)["repositories"]
    except client.exceptions.RepositoryNotFoundException:
        return None, {}
    arn = found[0]["repositoryArn"]
    listed = client.list_tags_for_resource(resourceArn=arn, aws_retry=True)["tags"]
    return arn, boto3_tag_list_to_ansible_dict(listed)


def ensure(module: AnsibleAWSModule) -> None:
    """Set the tags that differ."""
    client = module.client("ecr", retry_decorator=AWSRetry.jittered_backoff())
    name: str = module.params["name"]
    arn, before = describe(client, name)
    if arn is None and not module.check_mode:
        module.fail_json(msg=f"There is no ECR repository {name} to tag. Make it first.")
    wanted = {str(key): str(value) for key, value in module.params["tags"].items()}
    missing = {key: value for key, value in wanted.items() if before.get(key) != value}
    after = before | missing
    if missing and not module.check_mode:
        client.tag_resource(resourceArn=arn, tags=ansible_dict_to_boto3_tag_list(missing), aws_retry=True)
    module.exit_json(changed=bool(missing), tags=after, diff={"before": before, "after": after})


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        ensure(module)
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))


if __name__ == "__main__":
    main()
