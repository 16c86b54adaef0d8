"""S3's requests under the names of the rights they need, on the bucket or object they are about."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import xmltodict
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.common_types import TYPE_RESPONSE
from moto.iam.access_control import CreateAccessKeyFailure, create_access_key
from moto.s3.exceptions import BucketAccessDeniedError, S3AccessDeniedError, S3SignatureDoesNotMatchError
from moto.s3.responses import ACTION_MAP, S3Response

from .iam import refusal
from .mend import mends
from .settings import ACCOUNT, PARTITION

# What moto takes for the listing, creation or deletion of the bucket itself
SUBRESOURCES = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
}


def install() -> None:
    """Name the rights, refuse whoever has nothing signed, and decide on each object of a deletion."""
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
        if "X-Amz-Signature" in response.querystring and key_name:
            _check_presigned(response, f"{bucket_name}/{key_name}")
            return
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


def _check_presigned(response: S3Response, name: str) -> None:
    """Let in whoever brings an address that somebody with the right has signed, until it expires.

    Raises:
        S3SignatureDoesNotMatchError: It was not signed so.
        S3AccessDeniedError: It has expired, or who signed it has not the right.
    """
    query = dict(parse_qsl(urlsplit(response.uri).query, keep_blank_values=True))
    signature = query.pop("X-Amz-Signature")
    key_id, _, region, service, _ = query["X-Amz-Credential"].split("/")
    token = query.get("X-Amz-Security-Token")
    try:
        key = create_access_key(ACCOUNT, PARTITION, key_id, {"X-Amz-Security-Token": token} if token else {})
    except CreateAccessKeyFailure as error:
        raise S3AccessDeniedError from error
    signed = {one: response.headers[one] for one in query["X-Amz-SignedHeaders"].split(";")}
    request = AWSRequest(response.method, f"http://{response.headers['Host']}{response.raw_path}", signed)
    request.params = query
    request.context["timestamp"] = query["X-Amz-Date"]
    signer = S3SigV4QueryAuth(key.create_credentials(), service, region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(signature, expected):
        raise S3SignatureDoesNotMatchError
    begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    over = datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"]))
    action = "s3:PutObject" if response.method == "PUT" else "s3:GetObject"
    if over or refusal(key_id, token, action, f"arn:aws:s3:::{name}") is not None:
        raise S3AccessDeniedError


def _refused(response: S3Response, bucket_name: str, asked: dict[str, str]) -> bool:
    action = "s3:DeleteObjectVersion" if "VersionId" in asked else "s3:DeleteObject"
    token = response.headers.get("X-Amz-Security-Token")
    return (
        refusal(response.get_access_key(), token, action, f"arn:aws:s3:::{bucket_name}/{asked['Key']}")
        is not None
    )
