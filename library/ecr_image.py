#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an image built from committed files, in Amazon ECR."""

DOCUMENTATION = r"""
---
module: ecr_image
short_description: Build an image from committed files and push it to Amazon ECR
description:
  - Makes a tag of an ECR repository be the image of the committed state of a folder.
  - The version of an image is the short SHA of the last commit that touched its context or its Dockerfile.
    When the repository has that version, nothing is built; when O(tag) is another image, only that tag is
    moved.
  - The context is exported from Git, so files that are ignored or not committed (such as C(.env)) cannot get
    into the image. C(.dockerignore) applies as usual.
  - The build gets the argument C(VERSION), and the image the label C(org.opencontainers.image.revision).
  - The password for the registry is kept in memory. The image is removed from the engine after the push;
    the build cache stays.
author:
  - The Matinee authors
requirements:
  - docker (Python library)
  - a docker command with buildx, or one before 23, and git
options:
  repository:
    description:
      - Name of the ECR repository, which must exist.
    type: str
    required: true
  tag:
    description:
      - The tag that is moved to the image. Whoever serves the image follows it.
    type: str
    default: latest
  context:
    description:
      - The folder to build.
    type: path
    required: true
  dockerfile:
    description:
      - The Dockerfile, inside or outside of O(context), in the same Git repository.
      - Defaults to C(Dockerfile) in O(context).
    type: path
  allow_dirty:
    description:
      - Build the files as they are on disk, without those that Git ignores. Where they differ from the commit
        the version ends in C(-dirty-) and a hash of the files.
      - Also needed for a folder that is not in a Git repository, of which all files are taken.
    type: bool
    default: false
  build_args:
    description:
      - Build arguments. They can be read from the image, so they must not be secret.
      - The version then ends in a hash, so that other arguments make another version.
    type: dict
    default: {}
  platform:
    description:
      - The platform to build for. Another one than the default adds a hash to the version, as O(build_args)
        do.
    type: str
    default: linux/amd64
  cache_from:
    description:
      - Caches to read, passed to the builder as they are.
    type: list
    elements: str
    default: []
  log_path:
    description:
      - File that gets the output of the build and the progress of the push while they happen, to be followed
        with C(tail -F). It is made readable for its owner only, overwritten at each run, and kept.
      - Without it, the log is a temporary file, kept only when something fails.
    type: path
notes:
  - Needs the rights C(ecr:GetAuthorizationToken), and on the repository C(ecr:BatchGetImage),
    C(ecr:DescribeImages), C(ecr:BatchCheckLayerAvailability), C(ecr:InitiateLayerUpload),
    C(ecr:UploadLayerPart), C(ecr:CompleteLayerUpload) and C(ecr:PutImage).
  - A version names a commit, not a folder. Give each O(context) that is built from a Git repository its own
    O(repository).
  - In CI, fetch the whole history. In a shallow clone the last commit stands for all that were cut off.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Push the committed state of the app
  ecr_image:
    repository: ragstream-web
    context: "{{ playbook_dir }}/app"
    dockerfile: "{{ playbook_dir }}/Dockerfile"
    log_path: "{{ playbook_dir }}/.cache/push.log"
  register: pushed

- name: Push what is on disk, to try it out
  ecr_image:
    repository: ragstream-web
    context: "{{ playbook_dir }}/app"
    allow_dirty: true
"""

RETURN = r"""
msg:
  description: What was done, or in check mode what would be done, in one sentence.
  returned: success
  type: str
  sample: Built ragstream-web:1f0c9d2ab34e, pushed 1.5 MB and moved {tag} to it.
version:
  description: The version, which is also the image's tag.
  returned: success
  type: str
  sample: 1f0c9d2ab34e
image:
  description: The image's full name with registry and tag.
  returned: success
  type: str
  sample: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/ragstream-web:1f0c9d2ab34e
digest:
  description: The digest of the image. In check mode only when the repository has it.
  returned: success
  type: str
  sample: sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
bytes_pushed:
  description: Compressed size of the layers that were sent, in bytes. 0 when the registry had them all.
  returned: success, not when a build is predicted in check mode
  type: int
  sample: 1534229
seconds:
  description: How long the build and the push took, in seconds.
  returned: success, not in check mode
  type: dict
  contains:
    build:
      description: Export of the context and build.
      type: float
      returned: always
    push:
      description: Push of the layers and tags.
      type: float
      returned: always
  sample:
    build: 41.2
    push: 6.3
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain, missing_right
from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.build_context import (
    ContextError,
    Source,
    export_commit,
    export_work_tree,
    find_source,
    make_version,
)
from ansible.module_utils.ecr_images import EcrRepository, Tagged, missing_repository
from ansible.module_utils.image_builder import (
    BuilderError,
    Log,
    build,
    build_command,
    bytes_sent,
    connect,
    find_builder,
    forget,
    push,
)
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

DEFAULT_PLATFORM = "linux/amd64"
LISTED_FILES = 20  # of those that are not committed, in the message


class ImageError(Exception):
    """The repository cannot be brought into the wanted state; the message says why and what to do."""


@dataclass(frozen=True)
class State:
    """What the version and the moving tag stand for; None for one that does not exist."""

    version: Tagged | None
    moving: Tagged | None

    @property
    def is_there(self) -> bool:
        """Whether the moving tag is at the version."""
        return (
            self.version is not None and self.moving is not None and self.version.digest == self.moving.digest
        )


class Target:
    """The repository, and the tag in it that moves."""

    def __init__(self, repository: EcrRepository, tag: str) -> None:
        self.repository = repository
        self.name = repository.name
        self.tag = tag

    def describe(self, version: str) -> State:
        """Read both tags."""
        return State(version=self.repository.find(version), moving=self.repository.find(self.tag))

    def layers(self, digest: str) -> list[dict[str, Any]]:
        """Read an image's layers, with their compressed sizes in bytes."""
        return self.repository.manifest(digest).content["layers"]

    def move(self, digest: str) -> None:
        """Make the tag stand for an image that is in the repository."""
        self.repository.put(self.repository.manifest(digest), digest, self.tag)


@dataclass(frozen=True)
class Published:
    """What a build and its push came to; the times are in seconds."""

    diff_ids: tuple[str, ...] = ()
    sent: frozenset[str] = frozenset()
    build_seconds: float = 0.0
    push_seconds: float = 0.0


def chosen_inputs(build_args: dict[str, str], platform: str) -> str:
    """Write down the inputs of a build that are not the default; empty when all are."""
    inputs = dict(sorted(build_args.items()))
    if platform != DEFAULT_PLATFORM:
        inputs["platform"] = platform
    return json.dumps(inputs) if inputs else ""


def check_committed(source: Source) -> None:
    """Refuse files that no commit holds.

    Raises:
        ImageError: with the names of the files.
    """
    if not source.uncommitted:
        return
    remedy = "or set `allow_dirty: true` to build what is on disk"
    if not source.is_git:
        raise ImageError(f"{source.root} is not in a Git repository. Commit it to one, {remedy}.")
    files = ", ".join(source.uncommitted[:LISTED_FILES])
    more = len(source.uncommitted) - LISTED_FILES
    raise ImageError(
        f"Not committed in {source.root}: {files}{f' and {more} more' if more > 0 else ''}. "
        f"Commit them, have Git ignore them, {remedy}."
    )


def explain_push(message: str, repository: str, region: str | None) -> str:
    """Say what to do about a refusal by the registry, which comes through the engine as text."""
    if right := missing_right(message):
        return f"These AWS credentials lack the right {right}. Add it to their policy. ECR says: {message}"
    if "does not exist" in message or "name unknown" in message:
        return missing_repository(repository, region)
    return f"The push failed: {message}"


def publish(
    module: AnsibleAWSModule, source: Source, tree: Path, image: str, credentials: dict[str, str], log: Log
) -> Published:
    """Build the image and push it under its version.

    Raises:
        ContextError: when the commit cannot be exported.
        BuilderError: when there is no engine, or the build fails.
        ImageError: when the push fails.
    """
    params = module.params
    builder = find_builder()
    engine = connect(builder)
    started = time.monotonic()
    log.say(f"building {image}")
    if not source.uncommitted:
        export_commit(source, tree)
    command = build_command(
        builder,
        context=tree / source.context,
        dockerfile=tree / source.dockerfile,
        image=image,
        version=image.rsplit(":", 1)[1],
        platform=params["platform"],
        build_args=params["build_args"],
        cache_from=params["cache_from"],
    )
    build(command, log)
    built = time.monotonic()
    log.say(f"pushing {image}")
    try:
        diff_ids = tuple(engine.images.get(image).attrs["RootFS"].get("Layers", ()))
        sent = push(engine, image, credentials, log)
    except BuilderError as error:
        reason = explain_push(str(error), params["repository"], module.region)
        raise ImageError(f"{reason} Whole log: {log.path}") from error
    finally:
        forget(engine, image)
    return Published(diff_ids, sent, built - started, time.monotonic() - built)


def diff(tag: str, version: str, before: State, digest: str | None) -> dict[str, Any]:
    """Show what the moving tag was and will be."""
    was = {"version": before.moving.version, "digest": before.moving.digest} if before.moving else {}
    return {"before": {tag: was}, "after": {tag: {"version": version, "digest": digest}}}


def predict(target: Target, version: str, before: State) -> dict[str, Any]:
    """Return the result of check mode."""
    name, tag = f"{target.name}:{version}", target.tag
    result: dict[str, Any] = {"changed": not before.is_there, "version": version}
    if before.version is None:
        message = f"Would build {name}, push it and move {tag} to it."
        return result | {"msg": message, "diff": diff(tag, version, before, "known after the build")}
    digest = before.version.digest
    result |= {"digest": digest, "bytes_pushed": 0, "diff": diff(tag, version, before, digest)}
    if before.is_there:
        return result | {"msg": f"{name} is {tag} already."}
    return result | {"msg": f"Would move {tag} to {name}, which is in the repository."}


def ensure(
    target: Target, version: str, before: State, publish_version: Callable[[], Published]
) -> dict[str, Any]:
    """Bring the version into the repository if it is not there, move the tag to it, and return the result.

    Raises:
        ImageError: when somebody else moves a tag meanwhile.
    """
    name, tag = f"{target.name}:{version}", target.tag
    published = publish_version() if before.version is None else Published()
    after = target.describe(version)
    if after.version and not after.is_there:
        target.move(after.version.digest)
        after = target.describe(version)
    if after.version is None or not after.is_there:
        raise ImageError(
            f"{name} was pushed, but somebody else moved the tags meanwhile: {tag} is "
            f"{after.moving and after.moving.version} now. Run this again to make it {version}."
        )
    digest, size = after.version.digest, 0
    if published.sent:
        size = bytes_sent(published.sent, published.diff_ids, target.layers(digest))
    if before.version is None:
        message = f"Built {name}, pushed {size / 1e6:.1f} MB and moved {tag} to it."
    elif before.is_there:
        message = f"{name} is {tag} already."
    else:
        message = f"Moved {tag} to {name}, which is in the repository."
    return {
        "changed": not before.is_there,
        "version": version,
        "digest": digest,
        "bytes_pushed": size,
        "seconds": {"build": round(published.build_seconds, 2), "push": round(published.push_seconds, 2)},
        "msg": message,
        "diff": diff(tag, version, before, digest),
    }


def run(module: AnsibleAWSModule) -> dict[str, Any]:
    """Do what the options ask and return the result.

    Raises:
        ContextError, BuilderError, ImageError: with a message for the user.
        BotoCoreError, ClientError: from AWS.
    """
    params = module.params
    source = find_source(Path(params["context"]), params["dockerfile"] and Path(params["dockerfile"]))
    if not params["allow_dirty"]:
        check_committed(source)
    if source.is_cut:
        module.warn(
            f"The Git history ends at {source.commit}, so the version may be younger than the last change. "
            "Fetch the whole history (`fetch-depth: 0` in GitHub Actions)."
        )
    client = module.client("ecr", retry_decorator=AWSRetry.jittered_backoff())
    target = Target(EcrRepository(client, params["repository"]), params["tag"])
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        content_hash = export_work_tree(source, tree) if source.uncommitted else None
        version = make_version(source, content_hash, chosen_inputs(params["build_args"], params["platform"]))
        registry = target.repository.registry()
        module.no_log_values.add(registry.password)
        image = f"{registry.host}/{target.name}:{version}"
        before = target.describe(version)
        if module.check_mode:
            return predict(target, version, before) | {"image": image}
        with Log(params["log_path"] and Path(params["log_path"])) as log:
            result = ensure(
                target,
                version,
                before,
                lambda: publish(module, source, tree, image, registry.credentials, log),
            )
            log.say(result["msg"])
    return result | {"image": image}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "tag": {"type": "str", "default": "latest"},
            "context": {"type": "path", "required": True},
            "dockerfile": {"type": "path"},
            "allow_dirty": {"type": "bool", "default": False},
            "build_args": {"type": "dict", "default": {}},
            "platform": {"type": "str", "default": DEFAULT_PLATFORM},
            "cache_from": {"type": "list", "elements": "str", "default": []},
            "log_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if not find_spec("docker"):
        module.fail_json(msg=missing_required_lib("docker"))
    try:
        result = run(module)
    except (ContextError, BuilderError, ImageError) as error:
        module.fail_json(msg=str(error))
    except is_boto3_error_code("RepositoryNotFoundException"):
        module.fail_json(msg=missing_repository(module.params["repository"], module.region))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
