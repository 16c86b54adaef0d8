#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the environment of an app in SSM Parameter Store."""

DOCUMENTATION = r"""
---
module: app_parameters
short_description: Keep the environment of an app in SSM Parameter Store
description:
  - Makes a path of the AWS Systems Manager Parameter Store hold exactly the declared environment variables.
    O(settings) are stored as C(String), O(secrets) as C(SecureString). Whatever else is stored under the
    path is removed.
  - Writes only what differs in value, type or tags. Everything is validated before the first write.
  - Values never appear in the result or in the diff, which give names and actions.
author:
  - The Matinee authors
options:
  path:
    description:
      - The path that holds the variables, without a slash at the end. The variable C(NAME) is stored as
        C(path/NAME).
    type: str
    required: true
  settings:
    description:
      - Variables which are no secret. A value is text, a number or a boolean (stored as V(true) or V(false)),
        not empty, and at most 4096 bytes long.
    type: dict
    default: {}
  secrets:
    description:
      - Variables which are secret. Values are as in O(settings), but may be empty.
      - A secret without a value keeps the stored one, so that only who changes a secret needs to know it.
        When none is stored either, the module fails, unless the name is in O(optional).
      - A variable that moves here from O(settings) is deleted and made anew with the tags it had, which ends
        its history. Change its value too.
    type: dict
    default: {}
  optional:
    description:
      - Names of secrets that the app can do without. One that is not in O(secrets) counts as without a value.
    type: list
    elements: str
    default: []
  only:
    description:
      - Names of the variables to see to, all if not given. Every other one is left as it is.
    type: list
    elements: str
  tags:
    description:
      - Tags for every variable. Other tags that a variable may carry are left alone.
    type: dict
    default: {}
  state:
    description:
      - With V(absent), everything stored under O(path) is removed.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Needs the rights C(ssm:GetParametersByPath), C(ssm:PutParameter), C(ssm:DeleteParameters),
    C(ssm:AddTagsToResource) and C(ssm:ListTagsForResource) on the path, and the use of the account's
    C(aws/ssm) key, which AWS gives to all who may use Parameter Store.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Keep the environment of the app
  app_parameters:
    path: /ragstream/demo/env
    settings:
      MODEL: gpt-5-mini
      TOP_K: 6
    secrets:
      OPENAI_API_KEY: "{{ lookup('ansible.builtin.env', 'OPENAI_API_KEY') }}"
    optional:
      - ANTHROPIC_API_KEY
    tags:
      Project: ragstream
      Stage: demo

- name: Remove it
  app_parameters:
    path: /ragstream/demo/env
    state: absent
"""

RETURN = r"""
parameters:
  description:
    - What was done for each variable; in check mode, what would be done.
    - V(created), V(updated) (value, type or tags), V(unchanged), V(removed), V(kept) (a secret without a new
      value) or V(skipped) (an optional secret without a value, not stored).
  returned: success
  type: dict
  sample:
    MODEL: unchanged
    OPENAI_API_KEY: created
    OLD_SETTING: removed
"""

import contextlib
import re
from dataclasses import dataclass
from itertools import batched
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

PLAIN = "String"
ENCRYPTED = "SecureString"
MAX_BYTES = 4096  # of a parameter of the standard tier, which is free
DELETE_BATCH = 10  # names that one DeleteParameters call takes
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")

Actions = dict[str, str]
Tags = dict[str, str]


class InvalidDeclarationError(Exception):
    """What the user declared cannot be stored; the message lists every reason, without values."""


@dataclass(frozen=True)
class Parameter:
    """A variable as declared or as stored; a declared secret may have no value."""

    type: str
    value: str = ""


def as_text(value: object) -> str | None:
    """Return a value as the app will see it, or None when it is no scalar."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else None


def value_problem(parameter: Parameter) -> str | None:
    """Say why Parameter Store or the environment of a process cannot hold this value."""
    if not parameter.value:
        return "is empty: give it a value or remove it" if parameter.type == PLAIN else None
    if (size := len(parameter.value.encode())) > MAX_BYTES:
        return f"is {size} bytes long: at most {MAX_BYTES} can be stored"
    if "\0" in parameter.value:
        return "contains a NUL character, which an environment variable cannot hold"
    if re.search(r"\{\{.*\}\}", parameter.value, re.DOTALL):
        return "contains {{ }}, which Parameter Store refuses"
    return None


def declare(
    path: str, settings: dict[str, Any], secrets: dict[str, Any], optional: list[str]
) -> dict[str, Parameter]:
    """Turn the module's options into parameters by name.

    Raises:
        InvalidDeclarationError: with one line for each reason.
    """
    problems = []
    if not PATH.fullmatch(path):
        problems.append(f"path {path!r} is not of the form /project/stage/env, without a slash at the end")
    secrets = dict.fromkeys(optional) | secrets
    problems += [
        f"{name} is both a setting and a secret" for name in sorted(settings.keys() & secrets.keys())
    ]
    declared = {}
    for kind, variables in ((PLAIN, settings), (ENCRYPTED, secrets)):
        for name, value in variables.items():
            if not NAME.fullmatch(name):
                problems.append(
                    f"{name!r} is not a variable's name: use letters, digits and _, no digit first"
                )
            elif (text := as_text(value)) is None:
                problems.append(
                    f"{name} is a list or a dictionary: write it as text, for example with to_json"
                )
            elif problem := value_problem(Parameter(kind, text)):
                problems.append(f"{name} {problem}")
            else:
                declared[name] = Parameter(kind, text)
    if problems:
        raise InvalidDeclarationError("Nothing was changed. " + "; ".join(problems) + ".")
    return declared


def fill_in(
    declared: dict[str, Parameter], stored: dict[str, Parameter], optional: list[str]
) -> tuple[dict[str, Parameter], Actions]:
    """Give each secret without a value its stored one.

    Returns:
        The parameters to store, and the actions already known: kept and skipped.

    Raises:
        InvalidDeclarationError: when a secret that is not optional has no value anywhere.
    """
    without = [name for name, parameter in declared.items() if not parameter.value]
    missing = [name for name in without if name not in stored and name not in optional]
    if missing:
        raise InvalidDeclarationError(
            f"Nothing was changed. No value is given or stored for {', '.join(missing)}. Give one in "
            f"`secrets`; where that reads your environment, run `export {missing[0]}=...` first. "
            "A secret the app can do without belongs in `optional`."
        )
    actions = {name: "kept" if name in stored else "skipped" for name in without}
    wanted = {
        name: Parameter(parameter.type, parameter.value or stored[name].value)
        for name, parameter in declared.items()
        if parameter.value or name in stored
    }
    return wanted, actions


def plan(wanted: dict[str, Parameter], stored: dict[str, Parameter]) -> Actions:
    """Compare what is wanted with what is stored."""
    actions = dict.fromkeys(stored.keys() - wanted.keys(), "removed")
    for name, parameter in wanted.items():
        if name not in stored:
            actions[name] = "created"
        else:
            actions[name] = "unchanged" if parameter == stored[name] else "updated"
    return actions


def make_diff(
    actions: Actions, wanted: dict[str, Parameter], stored: dict[str, Parameter]
) -> dict[str, Tags]:
    """Show names, types and actions of what changes; never a value."""
    changes = {name: action for name, action in sorted(actions.items()) if is_change(action)}
    return {
        "before": {name: stored[name].type for name in changes if name in stored},
        "after": {name: f"{wanted[name].type}, {changes[name]}" for name in changes if name in wanted},
    }


def is_change(action: str) -> bool:
    """Tell the actions that write from those that do not."""
    return action in {"created", "updated", "removed"}


@AWSRetry.jittered_backoff()
def read_pages(client: RetryingBotoClientWrapper, path: str) -> list[dict[str, Any]]:
    """Read every page (AWS gives 10 parameters at a time)."""
    pages = client.get_paginator("get_parameters_by_path").paginate(
        Path=path, Recursive=True, WithDecryption=True
    )
    return pages.build_full_result()["Parameters"]


def describe(client: RetryingBotoClientWrapper, path: str) -> dict[str, Parameter]:
    """Read what is stored under the path, by name relative to it."""
    return {
        found["Name"].removeprefix(f"{path}/"): Parameter(found["Type"], found["Value"])
        for found in read_pages(client, path)
    }


def carried_tags(client: RetryingBotoClientWrapper, path: str, name: str) -> Tags:
    """Read the tags of a stored parameter."""
    answer = client.list_tags_for_resource(
        ResourceType="Parameter", ResourceId=f"{path}/{name}", aws_retry=True
    )
    return boto3_tag_list_to_ansible_dict(answer["TagList"])


def missing_tags(
    client: RetryingBotoClientWrapper, path: str, names: list[str], tags: Tags
) -> dict[str, Tags]:
    """Find the stored parameters that do not carry all the tags, and which they lack."""
    lacking = {}
    for name in names if tags else []:
        carried = carried_tags(client, path, name)
        if lack := {key: value for key, value in tags.items() if carried.get(key) != value}:
            lacking[name] = lack
    return lacking


def write(
    client: RetryingBotoClientWrapper,
    path: str,
    name: str,
    parameter: Parameter,
    stored: Parameter | None,
    tags: Tags,
) -> None:
    """Create or overwrite one parameter; AWS takes tags, and another type, only for a new one."""
    if stored and stored.type != parameter.type:
        tags = carried_tags(client, path, name) | tags
        remove(client, path, [name])
        stored = None
    if stored is None:
        extra = {"Tags": ansible_dict_to_boto3_tag_list(tags)} if tags else {}
    else:
        extra = {"Overwrite": True}
    client.put_parameter(
        Name=f"{path}/{name}", Type=parameter.type, Value=parameter.value, aws_retry=True, **extra
    )


def remove(client: RetryingBotoClientWrapper, path: str, names: list[str]) -> None:
    """Delete parameters; one that is gone already is no error."""
    for batch in batched(names, DELETE_BATCH):
        client.delete_parameters(Names=[f"{path}/{name}" for name in batch], aws_retry=True)


def ensure(
    client: RetryingBotoClientWrapper,
    path: str,
    wanted: dict[str, Parameter],
    stored: dict[str, Parameter],
    tags: Tags,
    check_mode: bool,
) -> Actions:
    """Make the path hold exactly the wanted parameters, or in check mode say what that takes."""
    actions = plan(wanted, stored)
    lacking = missing_tags(client, path, sorted(wanted.keys() & stored.keys()), tags)
    if not check_mode:
        for name, parameter in wanted.items():
            if is_change(actions[name]):
                write(client, path, name, parameter, stored.get(name), tags)
        for name, lack in lacking.items():
            client.add_tags_to_resource(
                ResourceType="Parameter",
                ResourceId=f"{path}/{name}",
                Tags=ansible_dict_to_boto3_tag_list(lack),
                aws_retry=True,
            )
        remove(client, path, [name for name, action in actions.items() if action == "removed"])
    return actions | dict.fromkeys(lacking, "updated")


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "settings": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "optional": {"type": "list", "elements": "str", "default": []},
            "only": {"type": "list", "elements": "str"},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    path, optional, only = params["path"], params["optional"], params["only"]
    tags = {key: str(value) for key, value in params["tags"].items()}
    present = params["state"] == "present"
    try:
        declared = declare(
            path,
            params["settings"] if present else {},
            params["secrets"] if present else {},
            optional if present else [],
        )
        client = module.client(
            "ssm",
            retry_decorator=AWSRetry.jittered_backoff(
                catch_extra_error_codes=["TooManyUpdates", "ParameterAlreadyExists"]
            ),
        )
        stored = describe(client, path)
        if only is not None:
            declared = {name: parameter for name, parameter in declared.items() if name in only}
            stored = {name: parameter for name, parameter in stored.items() if name in only}
        wanted, valueless = fill_in(declared, stored, optional)
        actions = ensure(client, path, wanted, stored, tags, module.check_mode)
    except InvalidDeclarationError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))

    # "kept" tells more than "unchanged", but nothing when the type or a tag had to be written
    actions |= {name: action for name, action in valueless.items() if not is_change(actions.get(name, ""))}
    module.exit_json(
        changed=any(map(is_change, actions.values())),
        parameters=actions,
        diff=make_diff(actions, wanted, stored),
    )


if __name__ == "__main__":
    main()
