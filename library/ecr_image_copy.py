#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the very same image under another tag, or in another repository, of Amazon ECR."""

DOCUMENTATION = r"""
---
module: ecr_image_copy
short_description: Give the very same image another tag, or another ECR repository
description:
  - Makes a tag of an ECR repository be an image that is there already, or in another repository of the same
    account and region. Nothing is built; the digest stays the same, and so the image does to the byte.
  - Into another repository, the layers that it lacks are copied through the registry, and the image's version
    with them. No Docker engine is needed.
author:
  - The Matinee authors
requirements:
  - requests (Python library)
options:
  repository:
    description: Name of the repository that gets the image.
    type: str
    required: true
  tag:
    description: The tag that is moved to the image.
    type: str
    required: true
  source_repository:
    description: Name of the repository that has the image.
    type: str
    required: true
  source_tag:
    description: A tag of the image there, one that moves or a version.
    type: str
    required: true
notes:
  - Needs the rights C(ecr:BatchGetImage) and C(ecr:DescribeImages) on both repositories, and C(ecr:PutImage)
    on O(repository); where they are two also C(ecr:GetAuthorizationToken), C(ecr:GetDownloadUrlForLayer) on
    O(source_repository), and C(ecr:BatchCheckLayerAvailability), C(ecr:InitiateLayerUpload),
    C(ecr:UploadLayerPart) and C(ecr:CompleteLayerUpload) on O(repository).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Serve in the demo what was tried in staging
  ecr_image_copy:
    source_repository: ragstream-staging-web
    source_tag: staging
    repository: ragstream-web
    tag: latest
"""

RETURN = r"""
msg:
  description: What was done, or in check mode what would be done, in one sentence.
  returned: success
  type: str
  sample: "ragstream-web:latest is version 1f0c9d2ab34e now, 0.0 MB were copied."
digest:
  description: The digest of the image, in both repositories.
  returned: success
  type: str
  sample: sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
version:
  description: The version of the image; empty when it has no such tag.
  returned: success
  type: str
  sample: 1f0c9d2ab34e
bytes_copied:
  description: Compressed size of the layers that were copied, in bytes.
  returned: success, not in check mode
  type: int
  sample: 0
"""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urljoin

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    import requests
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.ecr_images import EcrRepository, Manifest, Registry, Tagged, missing_repository
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

CHUNK = 1024 * 1024  # bytes
SILENCE = 60  # seconds without a byte after which a copy has failed


class CopyError(Exception):
    """The image cannot be copied; the message says why and what to do."""


class Layers:
    """The layers of two repositories of one registry."""

    def __init__(self, registry: Registry, source: str, target: str) -> None:
        self.url = registry.url
        self.source, self.target = source, target
        self.session = requests.Session()
        self.session.auth = (registry.user, registry.password)

    def copy(self, digest: str) -> bool:
        """Copy a layer as a push sends it; tell whether it had to be."""
        if self._ask("HEAD", f"/v2/{self.target}/blobs/{digest}", also=404).ok:
            return False
        upload = self._ask("POST", f"/v2/{self.target}/blobs/uploads/")
        with self._ask("GET", f"/v2/{self.source}/blobs/{digest}") as layer:
            sent = self._ask("PATCH", upload.headers["Location"], data=layer.iter_content(CHUNK))
        # The registry compares what it got with the digest
        self._ask("PUT", sent.headers["Location"], digest=digest)
        return True

    def _ask(
        self,
        method: str,
        path: str,
        *,
        data: Iterator[bytes] | None = None,
        digest: str = "",
        also: int = 200,
    ) -> "requests.Response":
        answer = self.session.request(
            method,
            urljoin(self.url, path),
            params={"digest": digest} if digest else None,
            data=data,
            stream=method == "GET",
            timeout=SILENCE,
        )
        if not answer.ok and answer.status_code != also:
            raise CopyError(f"The registry answers {answer.status_code} to {method} {path}: {answer.text}")
        return answer


def parts(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """List the layers of an image, its configuration among them."""
    content = manifest.content
    yield from content.get("layers", [])
    if "config" in content:
        yield content["config"]


def copy(layers: Layers, source: EcrRepository, target: EcrRepository, digest: str) -> int:
    """Copy an image, with those it is an index of; return how many bytes were copied."""
    manifest = source.manifest(digest)
    copied = sum(part["size"] for part in parts(manifest) if layers.copy(part["digest"]))
    for one in manifest.content.get("manifests", []):
        copied += copy(layers, source, target, one["digest"])
    target.put(manifest, digest)
    return copied


def ensure(
    source: EcrRepository, target: EcrRepository, image: Tagged, tag: str
) -> tuple[int, Tagged | None]:
    """Bring the image to the target; return the bytes that were copied and what the tag is then.

    Raises:
        CopyError: The registry refuses.
    """
    copied = 0
    there = target.find_digest(image.digest)
    if there is None:
        copied = copy(Layers(target.registry(), source.name, target.name), source, target, image.digest)
    manifest = target.manifest(image.digest)
    for one in filter(None, (image.version, tag)):
        if there is None or one not in there.tags:
            target.put(manifest, image.digest, one)
    return copied, target.find(tag)


def run(module: AnsibleAWSModule) -> dict[str, Any]:
    """Do what the options ask and return the result.

    Raises:
        CopyError: with a message for the user.
        BotoCoreError, ClientError: from AWS.
    """
    params = module.params
    client = module.client("ecr", retry_decorator=AWSRetry.jittered_backoff())
    source = EcrRepository(client, params["source_repository"])
    target = EcrRepository(client, params["repository"])
    tag = params["tag"]
    image, before = source.find(params["source_tag"]), target.find(tag)
    if image is None:
        raise CopyError(f"There is no image {source.name}:{params['source_tag']}. Push one first.")
    version = image.version or ""
    called = f"version {version}" if version else image.digest
    is_there = before is not None and before.digest == image.digest
    result: dict[str, Any] = {
        "changed": not is_there,
        "digest": image.digest,
        "version": version,
        "diff": {
            "before": {tag: {"version": before.version, "digest": before.digest} if before else {}},
            "after": {tag: {"version": version, "digest": image.digest}},
        },
    }
    if is_there:
        return result | {"msg": f"{target.name}:{tag} is {called} already.", "bytes_copied": 0}
    if module.check_mode:
        return result | {"msg": f"{target.name}:{tag} would be {called}."}
    copied, after = ensure(source, target, image, tag)
    if after is None or after.digest != image.digest:
        raise CopyError(f"Somebody else moved {target.name}:{tag} meanwhile. Run this again.")
    message = f"{target.name}:{tag} is {called} now, {copied / 1e6:.1f} MB were copied."
    return result | {"msg": message, "bytes_copied": copied}


def main() -> None:
    """Run the module."""
    names = ("repository", "tag", "source_repository", "source_tag")
    module = AnsibleAWSModule(
        argument_spec={name: {"type": "str", "required": True} for name in names},
        supports_check_mode=True,
    )
    if not find_spec("requests"):
        module.fail_json(msg=missing_required_lib("requests"))
    try:
        result = run(module)
    except CopyError as error:
        module.fail_json(msg=str(error))
    except requests.RequestException as error:
        module.fail_json(msg=f"The registry cannot be reached: {error}. Run this again: what is there stays.")
    except is_boto3_error_code("RepositoryNotFoundException") as error:
        lacking = "source_repository" if module.params["source_repository"] in str(error) else "repository"
        module.fail_json(msg=missing_repository(module.params[lacking], module.region))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
