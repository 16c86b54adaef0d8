#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an OpenID Connect identity provider in IAM."""

DOCUMENTATION = r"""
---
module: iam_oidc_provider
short_description: Keep an OpenID Connect identity provider in IAM
description:
  - Makes IAM accept the tokens of an issuer, so that roles can trust some of their bearers.
  - An account has one provider for each issuer, whoever made it, so one that is there is shared. It gets the
    audiences that it lacks and keeps everything else that it has.
  - There are no certificates' thumbprints to give. AWS trusts the public authorities itself, and takes the
    thumbprint of an issuer of another authority when the provider is made.
author:
  - The Matinee authors
options:
  url:
    description:
      - The issuer, as its tokens name it, with V(https://).
    type: str
    required: true
  client_ids:
    description:
      - Audiences that a token may be meant for.
    type: list
    elements: str
    default: []
  tags:
    description:
      - Tags for a provider that is made here. One that is there keeps its own.
      - With O(state=absent), a provider that does not carry all of them is left alone.
    type: dict
    default: {}
  state:
    description:
      - With V(absent), the provider is removed, unless a role still trusts it.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Needs the right C(iam:GetOpenIDConnectProvider), and C(iam:CreateOpenIDConnectProvider) with
    C(iam:TagOpenIDConnectProvider), C(iam:AddClientIDToOpenIDConnectProvider), or C(iam:ListRoles) with
    C(iam:DeleteOpenIDConnectProvider), for what there is to do.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Accept what GitHub says of its workflows
  iam_oidc_provider:
    url: https://token.actions.githubusercontent.com
    client_ids: [sts.amazonaws.com]
    tags:
      ManagedBy: matinee

- name: Remove it, if it was made here and nobody needs it any more
  iam_oidc_provider:
    url: https://token.actions.githubusercontent.com
    tags:
      ManagedBy: matinee
    state: absent
"""

RETURN = r"""
oidc_provider:
  description: The provider; in check mode, as it would be. None when there is none.
  returned: success
  type: dict
  contains:
    arn:
      description: Its ARN.
      type: str
      sample: arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com
    client_ids:
      description: The audiences.
      type: list
      elements: str
      sample: [sts.amazonaws.com]
    tags:
      description: The tags.
      type: dict
      sample:
        ManagedBy: matinee
trusted_by:
  description: Names of the roles whose trust is the reason why the provider was not removed.
  returned: with O(state=absent)
  type: list
  elements: str
  sample: []
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

Tags = dict[str, str]
Provider = dict[str, Any]


def arn_of(account_arn: str, url: str) -> str:
    """Name the provider of an issuer, in the account and the partition of an ARN."""
    _, partition, _, _, account, _ = account_arn.split(":", 5)
    return f"arn:{partition}:iam::{account}:oidc-provider/{url.removeprefix('https://').rstrip('/')}"


def describe(client: RetryingBotoClientWrapper, arn: str) -> Provider | None:
    """Read the provider, or None when there is none."""
    try:
        found = client.get_open_id_connect_provider(OpenIDConnectProviderArn=arn, aws_retry=True)
    except is_boto3_error_code("NoSuchEntity"):
        return None
    return {
        "arn": arn,
        "client_ids": sorted(found.get("ClientIDList", [])),
        "tags": boto3_tag_list_to_ansible_dict(found.get("Tags", [])),
    }


@AWSRetry.jittered_backoff()
def roles_that_trust(client: RetryingBotoClientWrapper, arn: str) -> list[str]:
    """Name the roles whose trust policies name the provider."""
    roles = client.get_paginator("list_roles").paginate().build_full_result()["Roles"]
    return sorted(role["RoleName"] for role in roles if arn in json.dumps(role["AssumeRolePolicyDocument"]))


def ensure_present(
    client: RetryingBotoClientWrapper, arn: str, before: Provider | None, params: dict[str, Any], check: bool
) -> Provider:
    """Make the provider, or give it the audiences that it lacks."""
    wanted, tags = set(params["client_ids"]), {key: str(value) for key, value in params["tags"].items()}
    if before is None:
        if not check:
            client.create_open_id_connect_provider(
                Url=params["url"],
                ClientIDList=sorted(wanted),
                Tags=ansible_dict_to_boto3_tag_list(tags),
                aws_retry=True,
            )
        return {"arn": arn, "client_ids": sorted(wanted), "tags": tags}
    for audience in sorted(wanted.difference(before["client_ids"])) if not check else []:
        client.add_client_id_to_open_id_connect_provider(
            OpenIDConnectProviderArn=arn, ClientID=audience, aws_retry=True
        )
    return before | {"client_ids": sorted(wanted.union(before["client_ids"]))}


def ensure_absent(
    client: RetryingBotoClientWrapper, arn: str, before: Provider | None, tags: Tags, check: bool
) -> tuple[Provider | None, list[str]]:
    """Remove the provider, if it carries the tags and no role trusts it; say which do."""
    if before is None or not tags.items() <= before["tags"].items():
        return before, []
    if trusting := roles_that_trust(client, arn):
        return before, trusting
    if not check:
        client.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn, aws_retry=True)
    return None, []


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "client_ids": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not params["url"].startswith("https://"):
        module.fail_json(msg=f"{params['url']} is no issuer: give its URL, which begins with https://")
    retry = {"retry_decorator": AWSRetry.jittered_backoff()}
    result: dict[str, Any] = {}
    try:
        arn = arn_of(module.client("sts", **retry).get_caller_identity(aws_retry=True)["Arn"], params["url"])
        client = module.client("iam", **retry)
        before = describe(client, arn)
        if params["state"] == "present":
            after: Provider | None = ensure_present(client, arn, before, params, module.check_mode)
        else:
            after, result["trusted_by"] = ensure_absent(
                client, arn, before, params["tags"], module.check_mode
            )
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(
        changed=before != after,
        oidc_provider=after,
        diff={"before": before or {}, "after": after or {}},
        **result,
    )


if __name__ == "__main__":
    main()
