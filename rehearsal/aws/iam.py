"""Who may do what: IAM decisions on the resource a request really names.

moto checks signatures and policies, but asks about resource "*" for ECR, SSM and Route 53, so that a policy
which names repositories, parameters or zones allows nothing. Here these services say which resource is meant.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from botocore.awsrequest import AWSRequest
from moto import settings as moto_settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import JsonRESTError, _RESTError
from moto.core.responses import BaseResponse
from moto.ecr.responses import ECRResponse
from moto.iam import iam_backends
from moto.iam.access_control import (
    CreateAccessKeyFailure,
    IAMPolicy,
    IAMPolicyStatement,
    IAMRequestBase,
    PermissionResult,
    create_access_key,
)
from moto.route53.responses import Route53
from moto.ssm.responses import SimpleSystemManagerResponse

from .mend import adds, mends
from .settings import ACCOUNT, ADMINISTRATOR, PARTITION

# The same refusal has another name in the JSON protocols and in EC2's
JSON_ERRORS = {
    "AccessDenied": "AccessDeniedException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
}


class ExpiredKeyError(Exception):
    """The key or session a token was made with is gone."""


def install() -> None:
    """Teach moto the resources, the refusals' names, and wildcards."""
    adds(ECRResponse, "_determine_resource")(_ecr_resources)
    adds(SimpleSystemManagerResponse, "_determine_resource")(_ssm_resources)
    adds(Route53, "_determine_resource")(_zone)

    @mends(IAMPolicyStatement, "_match")
    def match(
        _original: object, _statement: IAMPolicyStatement, pattern: str, value: str
    ) -> re.Match[str] | None:
        # moto takes the pattern for a regular expression, in which a dot stands for anything
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value)

    @mends(IAMRequestBase, "_create_aws_request")
    def request(original: Callable[[IAMRequestBase], AWSRequest], asked: IAMRequestBase) -> AWSRequest:
        made = original(asked)
        if asked._method != "POST":  # moto takes the parameters of a request without a body for its body
            made.data = asked._body
        return made

    @mends(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action")
    def check(
        original: Callable[..., None], response: BaseResponse, resource: str | Sequence[str] = "*"
    ) -> None:
        for one in [resource] if isinstance(resource, str) else resource:
            try:
                original(response, one)
            except _RESTError as error:
                raise _in_protocol_of(response, error, one) from error


def create_administrator() -> None:
    """Create the user of the machine's profile, with the key it had before a restart, and close the account.

    From here on every request must be signed by a key the account knows, and allowed by its policies.
    """
    backend = iam_backends[ACCOUNT][PARTITION]
    user = backend.create_user("us-east-1", "administrator")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    backend.put_user_policy(user.name, "all", json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    key = user.create_access_key(prefix="AKIA")
    if ADMINISTRATOR.exists():
        saved = json.loads(ADMINISTRATOR.read_text())
        key.access_key_id, key.secret_access_key = saved["access_key_id"], saved["secret_access_key"]
    else:
        ADMINISTRATOR.parent.mkdir(parents=True, exist_ok=True)
        ADMINISTRATOR.touch(mode=0o600)
        ADMINISTRATOR.write_text(
            json.dumps({"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key})
        )
    backend.access_keys[key.physical_resource_id] = key
    moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = 0


def refusal(key_id: str, session_token: str | None, action: str, resource: str) -> str | None:
    """Why a key may not do something, in IAM's words; None if it may.

    Raises:
        ExpiredKeyError: The key is not the account's any more.
    """
    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    try:
        key = create_access_key(ACCOUNT, PARTITION, key_id, headers)
    except CreateAccessKeyFailure as error:
        raise ExpiredKeyError from error
    results = {IAMPolicy(policy).is_action_permitted(action, resource) for policy in key.collect_policies()}
    if PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results:
        return None
    return f"User: {key.arn} is not authorized to perform: {action} on resource: {resource}"


def repository_arn(region: str, name: str) -> str:
    """The ARN of an ECR repository of the account."""
    return f"arn:{PARTITION}:ecr:{region}:{ACCOUNT}:repository/{name}"


def _ecr_resources(response: ECRResponse) -> list[str]:
    parameters = _json_body(response)
    if "resourceArn" in parameters:
        return [parameters["resourceArn"]]
    names = parameters.get("repositoryNames") or [parameters.get("repositoryName")]
    return [repository_arn(response.region, name) if name else "*" for name in names]


def _ssm_resources(response: SimpleSystemManagerResponse) -> list[str]:
    parameters = _json_body(response)
    named = [
        parameters[key] for key in ("Name", "Path", "ResourceId") if isinstance(parameters.get(key), str)
    ]
    prefix = f"arn:{PARTITION}:ssm:{response.region}:{ACCOUNT}:parameter/"
    return [prefix + name.strip("/") for name in parameters.get("Names") or named] or ["*"]


def _zone(response: Route53) -> str:
    zone = re.search(r"/hostedzone/(\w+)", response.path)
    return f"arn:{PARTITION}:route53:::hostedzone/{zone[1]}" if zone else "*"


def _json_body(response: BaseResponse) -> dict[str, Any]:
    try:
        body = json.loads(response.body or "{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _in_protocol_of(response: BaseResponse, error: _RESTError, resource: str) -> _RESTError:
    message = (
        f"{error.message} on resource: {resource}" if error.error_type == "AccessDenied" else error.message
    )
    if (response.headers.get("Content-Type") or "").startswith("application/x-amz-json"):
        return JsonRESTError(JSON_ERRORS.get(error.error_type, error.error_type), message)
    if response.service_name == "route53":
        error.description = re.sub("</?Errors>", "", str(error.description))
    if error.error_type == "AccessDenied" and response.service_name == "ec2":
        refused = _RESTError("UnauthorizedOperation", message)
        refused.code = 403
        return refused
    return error
