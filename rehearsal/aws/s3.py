"""S3's requests under the names of the rights they need, on the bucket or object they are about."""

from collections.abc import Callable

import xmltodict
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.common_types import TYPE_RESPONSE
from moto.s3.exceptions import BucketAccessDeniedError
from moto.s3.responses import ACTION_MAP, S3Response

from .iam import refusal
from .mend import mends

# What moto takes for the listing, creation or deletion of the bucket itself
SUBRESOURCES = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
}


def install() -> None:
    """Name the rights, refuse whoever does not sign, and decide on each object of a deletion."""
    bucket, key = ACTION_MAP["BUCKET"], ACTION_MAP["KEY"]
    bucket["HEAD"]["DEFAULT"] = "ListBucket"
    key["HEAD"]["versionId"] = "GetObjectVersion"
    for method, verb in (("GET", "Get"), ("PUT", "Put"), ("DELETE", "Put")):
        bucket[method] |= {parameter: verb + right for parameter, right in SUBRESOURCES.items()}

    @mends(ActionAuthenticatorMixin, "_authenticate_and_authorize_s3_action")
    def check(
        original: Callable[..., None],
        response: S3Response,
        bucket_name: str | None = None,
        key_name: str | None = None,
    ) -> None:
        if "Authorization" not in response.headers:
            raise BucketAccessDeniedError(bucket=bucket_name or "")
        original(response, bucket_name, key_name)

    @mends(S3Response, "_bucket_response_delete_keys")
    def delete_keys(
        original: Callable[..., TYPE_RESPONSE],
        response: S3Response,
        bucket_name: str,
        authenticated: bool = True,
    ) -> TYPE_RESPONSE:
        # moto has asked for the bucket; the right is one on objects
        asked = xmltodict.parse(response.body, force_list=["Object"])["Delete"].get("Object", [])
        allowed = not any(_refused(response, bucket_name, one) for one in asked)
        return original(response, bucket_name, authenticated=allowed)


def _refused(response: S3Response, bucket_name: str, asked: dict[str, str]) -> bool:
    action = "s3:DeleteObjectVersion" if "VersionId" in asked else "s3:DeleteObject"
    token = response.headers.get("X-Amz-Security-Token")
    return (
        refusal(response.get_access_key(), token, action, f"arn:aws:s3:::{bucket_name}/{asked['Key']}")
        is not None
    )
