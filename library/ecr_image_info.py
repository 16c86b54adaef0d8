#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the images of an ECR repository."""

DOCUMENTATION = r"""
---
module: ecr_image_info
short_description: List the images of an ECR repository
description:
  - Lists the images of a repository of the Elastic Container Registry, the newest first.
author:
  - The Matinee authors
options:
  repository:
    description: Name of the repository.
    type: str
    required: true
notes:
  - Needs the right C(ecr:DescribeImages) on the repository.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: See what was pushed
  ecr_image_info:
    repository: ragstream-web
  register: pushed

- name: Name the image that the host takes at its next start
  ansible.builtin.debug:
    msg: "{{ pushed.images | selectattr('tags', 'contains', 'latest') | map(attribute='version') }}"
"""

RETURN = r"""
exists:
  description: Whether there is such a repository.
  returned: success
  type: bool
  sample: true
images:
  description: The images, the newest first. Empty when there is no such repository.
  returned: success
  type: list
  elements: dict
  contains:
    digest:
      description: Digest of the image.
      type: str
      sample: sha256:9b2e...
    tags:
      description: Its tags.
      type: list
      elements: str
      sample: [latest, 3f2c1e9a7b10]
    version:
      description: The one of its tags which M(ecr_image) has given it; empty when there is none.
      type: str
      sample: 3f2c1e9a7b10
    pushed_at:
      description: When it was pushed, ISO 8601.
      type: str
      sample: "2026-11-21T18:04:11+00:00"
    size:
      description: Compressed size in bytes.
      type: int
      sample: 254803968
"""

import contextlib
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.client import BaseClient
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible.module_utils.build_context import is_version
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

Image = dict[str, Any]


@AWSRetry.jittered_backoff()
def describe(client: "BaseClient", repository: str) -> list[dict[str, Any]] | None:
    """Return ECR's own description of every image of a repository; None when there is no repository."""
    pages = client.get_paginator("describe_images").paginate(repositoryName=repository)
    try:
        return [detail for page in pages for detail in page["imageDetails"]]
    except client.exceptions.RepositoryNotFoundException:
        return None


def as_image(detail: dict[str, Any]) -> Image:
    """Return what this module tells of an image."""
    tags = sorted(detail.get("imageTags", []))
    return {
        "digest": detail["imageDigest"],
        "tags": tags,
        "version": next(filter(is_version, tags), ""),
        "pushed_at": detail["imagePushedAt"].isoformat(),
        "size": detail.get("imageSizeInBytes", 0),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={"repository": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        found = describe(module.client("ecr"), module.params["repository"])
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    images = [as_image(detail) for detail in found or []]
    module.exit_json(
        exists=found is not None,
        images=sorted(images, key=lambda image: image["pushed_at"], reverse=True),
    )


if __name__ == "__main__":
    main()
