#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an IAM user's access key, and the file that its secret is handed over in."""

DOCUMENTATION = r"""
---
module: iam_key_file
short_description: Make a user's access key and write it to a file, or change it for another
description:
  - A key's secret can be read when the key is made and never again. So this makes the key and writes it to a
    file in one step, which M(amazon.aws.iam_access_key) cannot do, and the secret is in no result.
  - The user's tag C(Keys) names the keys that were handed over, and says when one is being made. So a key
    whose secret an interrupted run has not written is known; it could never be used, and is made again.
  - A key is changed in two steps, so that there is always one that works. The first makes a second key beside
    the one in use; the second removes the old one, once the new one has been used.
author:
  - The Matinee authors
options:
  user:
    description: Name of the user, who is there.
    type: str
    required: true
  path:
    description:
      - File that receives a new key, readable by its owner only, in the form that C(gh secret set -f) reads.
    type: path
    required: true
  state:
    description:
      - With V(present), the user has a key; one is made when there is none.
      - With V(rotated), the next step of changing it is taken, and none while the new key is not in use.
    type: str
    choices: [present, rotated]
    default: present
  finish:
    description:
      - With O(state=rotated), whether the old key is removed though AWS has not seen the new one used.
    type: bool
    default: false
  again:
    description:
      - With O(state=rotated), whether the new key is made once more, because its file was lost.
    type: bool
    default: false
notes:
  - Needs the rights C(iam:ListAccessKeys), C(iam:ListUserTags), C(iam:TagUser), C(iam:CreateAccessKey),
    C(iam:DeleteAccessKey) and C(iam:GetAccessKeyLastUsed) on the user.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: The user has a key
  iam_key_file:
    user: github-ragstream-ci
    path: .matinee/github-secrets.env

- name: Change it
  iam_key_file:
    user: github-ragstream-ci
    path: .matinee/github-secrets.env
    state: rotated
"""

RETURN = r"""
key_ids:
  description: Ids of the user's keys, the oldest first; in check mode, as they would be.
  returned: success
  type: list
  elements: str
  sample: [AKIAIOSFODNN7EXAMPLE]
step:
  description:
    - What was done, or would be. V(made) (a first key), V(begun) (a second one), V(waiting) (the second has
      not been used yet), V(finished) (the old one was removed) or V(none).
  returned: success
  type: str
  sample: begun
last_used:
  description: When the old key was last used, as AWS knows it; empty if never.
  returned: with O(state=rotated)
  type: str
  sample: '2026-11-21T14:02:00+00:00'
"""

import contextlib
import os
from pathlib import Path

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

TAG = "Keys"
NEW = "+"  # stands before the key that takes the place of the other one
MAKING = "making"  # stands at the end while a key is made
MOST = 2  # keys that AWS lets a user have


class CannotRotateError(Exception):
    """There is something that a person has to decide; the message says what."""


class User:
    """A user's keys, and what was written down of them."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.client = module.client("iam", retry_decorator=AWSRetry.jittered_backoff())
        self.name: str = module.params["user"]
        self.file = Path(module.params["path"])
        self.region: str = module.region
        self.check: bool = module.check_mode
        self.changed = False
        listed = self.client.list_access_keys(UserName=self.name, aws_retry=True)["AccessKeyMetadata"]
        self.listed = [key["AccessKeyId"] for key in sorted(listed, key=lambda key: key["CreateDate"])]
        tags = self.client.list_user_tags(UserName=self.name, aws_retry=True)["Tags"]
        self.noted = boto3_tag_list_to_ansible_dict(tags).get(TAG, "")
        handed = self.noted.split()
        self.making = MAKING in handed
        known = {key.removeprefix(NEW) for key in handed}
        # Unless one was being made, what is not written down was made by hand and is somebody's
        self.keys = [key for key in self.listed if key in known or not self.making]
        new = next((key for key in self.keys if f"{NEW}{key}" in handed), "")
        # It takes no key's place any more when the old one went and that could not be written down
        self.alone = bool(new) and len(self.keys) == 1
        self.new = "" if self.alone else new

    def tidy(self) -> None:
        """See to what an interrupted run has left: a key that was written is one more, another is none."""
        if not self.making:
            return
        written = self.file.read_text() if self.file.exists() else ""
        for key in [key for key in self.listed if key not in self.keys]:
            if f"={key}\n" in written or self.last_used(key):
                self.new = key if self.keys else ""
                self.keys.append(key)
            else:
                self.remove(key)
        self.note()

    def make(self) -> None:
        """Make one more key, and write it to the file."""
        self.changed = True
        if self.check:
            self.keys.append("")
            return
        self.note(making=True)
        made = self.client.create_access_key(UserName=self.name, aws_retry=True)["AccessKey"]
        try:
            self.write(
                {
                    "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
                    "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
                    "AWS_REGION": self.region,
                }
            )
        except OSError:
            self.remove(made["AccessKeyId"])
            raise
        self.new = made["AccessKeyId"] if self.keys else ""
        self.keys.append(made["AccessKeyId"])
        self.note()

    def write(self, values: dict[str, str]) -> None:
        """Put the file there in one step, for the eyes of its owner."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self.file.with_name(f".{self.file.name}.new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("".join(f"{name}={value}\n" for name, value in values.items()))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.file)

    def remove(self, key: str) -> None:
        """Delete a key."""
        self.changed = True
        if not self.check:
            self.client.delete_access_key(UserName=self.name, AccessKeyId=key, aws_retry=True)
        self.keys = [other for other in self.keys if other != key]
        self.new = "" if self.new == key else self.new

    def note(self, making: bool = False) -> None:
        """Write down which keys were handed over."""
        keys = [f"{NEW}{key}" if key == self.new else key for key in self.keys]
        self.changed = True
        if not self.check:
            tag = {"Key": TAG, "Value": " ".join([*keys, *([MAKING] if making else [])])}
            self.client.tag_user(UserName=self.name, Tags=[tag], aws_retry=True)

    def last_used(self, key: str) -> str:
        """Say when a key was last used; empty if never."""
        if not key:
            return ""
        used = self.client.get_access_key_last_used(AccessKeyId=key, aws_retry=True)["AccessKeyLastUsed"]
        return used["LastUsedDate"].isoformat() if "LastUsedDate" in used else ""


def rotate(user: User, finish: bool, again: bool) -> tuple[str, str]:
    """Take the next step; return which, and when the old key was last used.

    Raises:
        CannotRotateError: Which of two keys is the new one is not known, or it is not lost.
    """
    if not user.keys:
        user.make()
        return "made", ""
    old = user.last_used(user.keys[0])
    if user.alone:
        user.note()
        return "finished", old
    if not user.new:
        if len(user.keys) == MOST:
            raise CannotRotateError(
                f"{user.name} has two keys, {' and '.join(user.keys)}, and neither was made by a rotation. "
                "Delete the one that nobody uses: "
                f"aws iam delete-access-key --user-name {user.name} --access-key-id ID"
            )
        user.make()
        return "begun", old
    used = user.last_used(user.new)
    if again and used:
        raise CannotRotateError(
            f"The new key {user.new} is in use since {used}, so it was not made again: it works."
        )
    if again:
        user.remove(user.new)
        user.make()
        return "begun", old
    if not (finish or used):
        return "waiting", old
    user.remove(next(key for key in user.keys if key != user.new))
    user.new = ""
    user.note()
    return "finished", old


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "rotated"], "default": "present"},
            "finish": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params, result = module.params, {"step": "none"}
    try:
        user = User(module)
        before = user.listed
        user.tidy()
        if params["state"] == "rotated":
            result["step"], result["last_used"] = rotate(user, params["finish"], params["again"])
        elif not user.keys:
            user.make()
            result["step"] = "made"
    except CannotRotateError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"The key cannot be written to {params['path']}, so it was taken back. {error}. "
            "Make room, or give yourself the right to write there, then run again."
        )
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(
        changed=user.changed,
        key_ids=user.keys,
        diff={"before": {"keys": before}, "after": {"keys": user.keys}},
        **result,
    )


if __name__ == "__main__":
    main()
