"""Who may do what: IAM decisions on the resource and under the conditions that a request really has.

moto checks signatures and policies, but asks about resource "*" for most services, under another name than
IAM's for some, and takes a condition that it does not know for a refusal. Here a request says which rights it
needs, on what, and what conditions can ask of it. Each decision is written to a trail.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from botocore.awsrequest import AWSRequest
from moto import settings as moto_settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError, _RESTError
from moto.core.responses import BaseResponse
from moto.ec2.models import ec2_backends
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
from moto.iam.responses import IamResponse
from moto.route53.responses import Route53
from moto.ssm.responses import SimpleSystemManagerResponse

from .mend import adds, mends
from .settings import ACCOUNT, ADMINISTRATOR, PARTITION, TRAIL

# The same refusal has another name in the JSON protocols and in EC2's
JSON_ERRORS = {
    "AccessDenied": "AccessDeniedException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
}
# Names that differ between requests and rights, and rights that requests need beside the one of their own
# name, as in AWS's Service Authorization Reference
SERVICES = {"monitoring": "cloudwatch"}
ACTIONS = {
    **dict.fromkeys(
        (
            f"budgets:{verb}{what}"
            for verb in ("Create", "Update", "Delete")
            for what in ("Budget", "Notification")
        ),
        "budgets:ModifyBudget",
    ),
    "budgets:CreateSubscriber": "budgets:ModifyBudget",
    "budgets:DeleteSubscriber": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeBudgets": "budgets:ViewBudget",
    "budgets:DescribeNotificationsForBudget": "budgets:ViewBudget",
    "budgets:DescribeSubscribersForNotification": "budgets:ViewBudget",
}
TO_TAG = {  # with what is made; in EC2 whatever it is
    "budgets:CreateBudget": "budgets:TagResource",
    "cloudwatch:PutMetricAlarm": "cloudwatch:TagResource",
    "ecr:CreateRepository": "ecr:TagResource",
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "iam:CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
    "iam:CreateRole": "iam:TagRole",
    "iam:CreateUser": "iam:TagUser",
    "logs:CreateLogGroup": "logs:TagResource",
    "sns:CreateTopic": "sns:TagResource",
    "ssm:PutParameter": "ssm:AddTagsToResource",
}

Context = dict[str, list[str]]  # what conditions can ask of a request, by the key in lower case

# Who comes in over the loopback is taken for one who comes over TLS, too
ALWAYS: Context = {"aws:securetransport": ["true"]}

_context: ContextVar[Context] = ContextVar("context", default=ALWAYS)
_writing = threading.Lock()


class ExpiredKeyError(Exception):
    """The key or session a token was made with is gone."""


def install() -> None:
    """Teach moto the resources, the rights, the conditions, the refusals' names, and wildcards."""
    TRAIL.parent.mkdir(parents=True, exist_ok=True)
    TRAIL.write_text("")
    adds(ECRResponse, "_determine_resource")(_ecr_resources)
    adds(SimpleSystemManagerResponse, "_determine_resource")(_ssm_resources)
    adds(Route53, "_determine_resource")(_zone)

    @mends(IamResponse, "_determine_resource")
    def identity(_original: object, response: IamResponse) -> str:
        return _identity(response)

    @mends(IAMPolicyStatement, "_match")
    def match(_original: object, _statement: IAMPolicyStatement, pattern: str, value: str) -> bool | None:
        # moto takes the pattern for a regular expression, in which a dot stands for anything
        return is_like(pattern, value) or None

    @mends(IAMPolicyStatement, "is_action_permitted")
    def permitted(
        original: Callable[..., PermissionResult],
        statement: IAMPolicyStatement,
        *args: object,
        **kwargs: object,
    ) -> PermissionResult:
        # moto takes a condition that does not hold for a refusal
        if not hold(statement._statement.get("Condition", {}), _context.get()):
            return PermissionResult.NEUTRAL
        return original(statement, *args, **kwargs)

    @mends(IAMPolicyStatement, "_check_conditions")
    def conditions(_original: object, _statement: IAMPolicyStatement, *_args: object) -> bool:
        return True  # that is decided already

    @mends(IAMRequestBase, "__init__")
    def init(original: Callable[..., None], asked: IAMRequestBase, *args: object, **kwargs: object) -> None:
        original(asked, *args, **kwargs)
        service, _, action = asked._action.partition(":")
        operation = f"{SERVICES.get(service, service)}:{action}"
        asked._action = ACTIONS.get(operation, operation)

    @mends(IAMRequestBase, "_create_aws_request")
    def request(original: Callable[[IAMRequestBase], AWSRequest], asked: IAMRequestBase) -> AWSRequest:
        made = original(asked)
        if asked._method != "POST":  # moto takes the parameters of a request without a body for its body
            made.data = asked._body
        return made

    @mends(IAMRequestBase, "check_action_permitted")
    def decide(original: Callable[..., None], asked: IAMRequestBase, resource: str) -> None:
        allowed = False
        try:
            original(asked, resource)
            allowed = True
        finally:
            _note(asked._access_key.arn, asked._action, resource, allowed)

    @mends(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action")
    def check(
        original: Callable[..., None], response: BaseResponse, resource: str | Sequence[str] = "*"
    ) -> None:
        parameters = _parameters(response)
        for one in [resource] if isinstance(resource, str) else resource:
            token = _context.set(ALWAYS | _asked_of(parameters, one))
            try:
                original(response, one)
                _check_also(response, parameters, one)
            except _RESTError as error:
                raise _in_protocol_of(response, error, one) from error
            finally:
                _context.reset(token)


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


def refusal(
    key_id: str, session_token: str | None, action: str, resource: str, context: Context = ALWAYS
) -> str | None:
    """Why a key may not do something, in IAM's words; None if it may.

    Raises:
        ExpiredKeyError: The key is not the account's any more.
    """
    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    try:
        key = create_access_key(ACCOUNT, PARTITION, key_id, headers)
    except CreateAccessKeyFailure as error:
        raise ExpiredKeyError from error
    token = _context.set(context)
    try:
        results = {
            IAMPolicy(policy).is_action_permitted(action, resource) for policy in key.collect_policies()
        }
    finally:
        _context.reset(token)
    allowed = PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results
    _note(key.arn, action, resource, allowed)
    if allowed:
        return None
    return f"User: {key.arn} is not authorized to perform: {action} on resource: {resource}"


def hold(conditions: Mapping[str, Mapping[str, str | list[str]]], context: Context) -> bool:
    """Whether every condition of a statement holds: for each key, one of the values that are wanted.

    With a negated operator it is none of them, which also holds where a request does not have the key.

    Raises:
        NotImplementedError: An operator is not known here; a guess would be worse.
    """
    for operator, keys in conditions.items():
        compare = OPERATORS.get(NEGATED.get(operator, operator))
        if compare is None:
            raise NotImplementedError(f"The rehearsal does not decide conditions with {operator}.")
        for key, wanted in keys.items():
            values = [wanted] if isinstance(wanted, str) else wanted
            actual = context.get(key.lower(), ())
            if any(compare(value, one) for value in values for one in actual) == (operator in NEGATED):
                return False
    return True


def is_like(pattern: str, value: str) -> bool:
    """Whether a value matches a pattern, in which a star stands for any text and ? for one character."""
    return (
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL)
        is not None
    )


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "StringEquals": lambda wanted, value: wanted == value,
    "StringLike": is_like,
}
NEGATED = {"StringNotLike": "StringLike"}


def repository_arn(region: str, name: str) -> str:
    """The ARN of an ECR repository of the account."""
    return f"arn:{PARTITION}:ecr:{region}:{ACCOUNT}:repository/{name}"


def instance_arn(region: str, identity: str) -> str:
    """The ARN of an instance of the account."""
    return f"arn:{PARTITION}:ec2:{region}:{ACCOUNT}:instance/{identity}"


def session_arn(region: str, name: str) -> str:
    """The ARN of a session of Session Manager."""
    return f"arn:{PARTITION}:ssm:{region}:{ACCOUNT}:session/{name}"


def _note(who: str, action: str, resource: str, allowed: bool) -> None:
    """Write a decision down, as CloudTrail would."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"at": at, "who": who, "action": action, "resource": resource, "allowed": allowed})
    with _writing, TRAIL.open("a") as trail:
        trail.write(line + "\n")


def _parameters(response: BaseResponse) -> dict[str, Any]:
    """What a request asks for, by the names of the API; moto reads it for some services only."""
    if not response.automated_parameter_parsing:
        response.parse_parameters(response.normalized_request)
    return dict(response.params)


def _asked_of(parameters: Mapping[str, Any], resource: str) -> Context:
    """What conditions can ask of a request on a resource, beside what they can always ask."""
    if "Namespace" in parameters:
        return {"cloudwatch:namespace": [parameters["Namespace"]]}
    region, _, identity = resource.removeprefix(f"arn:{PARTITION}:ec2:").partition(f":{ACCOUNT}:instance/")
    if not identity:
        return {}
    tags = ec2_backends[ACCOUNT][region].describe_tags({"resource-id": [identity]})
    return {f"ssm:resourcetag/{tag['key']}".lower(): [tag["value"]] for tag in tags}


def _check_also(response: BaseResponse, parameters: Mapping[str, Any], resource: str) -> None:
    """Ask for the rights that a request needs beside the one of its own name.

    Raises:
        AccessDeniedError: One is missing.
    """
    for action, on, context in _also(response, parameters, resource):
        key_id, token = response.get_access_key(), response.headers.get("X-Amz-Security-Token")
        if refused := refusal(key_id, token, action, on, ALWAYS | context):
            raise AccessDeniedError(refused.split()[1], action)


def _also(
    response: BaseResponse, parameters: Mapping[str, Any], resource: str
) -> Iterator[tuple[str, str, Context]]:
    operation = f"{response.service_name}:{response._get_action()}"
    if any(parameters.get(name) for name in ("Tags", "tags", "ResourceTags")) and operation in TO_TAG:
        yield TO_TAG[operation], resource, {}
    if parameters.get("TagSpecifications") and response.service_name == "ec2":
        yield "ec2:CreateTags", resource, {}
    to_ec2 = {"iam:passedtoservice": ["ec2.amazonaws.com"]}
    if operation == "iam:AddRoleToInstanceProfile":
        yield "iam:PassRole", _identity_arn("role", parameters["RoleName"]), to_ec2
    profile = parameters.get("IamInstanceProfile")
    if profile:
        name = profile.get("Name") or profile["Arn"].rpartition("/")[2]
        for role in iam_backends[ACCOUNT][PARTITION].get_instance_profile(name).roles:
            yield "iam:PassRole", role.arn, to_ec2


def _identity_arn(kind: str, name: str) -> str:
    return f"arn:{PARTITION}:iam::{ACCOUNT}:{kind}/{name}"


def _identity(response: IamResponse) -> str:
    parameters = response.params
    if "OpenIDConnectProviderArn" in parameters:
        return str(parameters["OpenIDConnectProviderArn"])
    if "Url" in parameters:
        return _identity_arn("oidc-provider", parameters["Url"].removeprefix("https://"))
    if "AccessKeyId" in parameters and "UserName" not in parameters:
        owner = iam_backends[ACCOUNT][PARTITION].get_user_from_access_key_id(parameters["AccessKeyId"])
        return _identity_arn("user", owner.name) if owner else "*"
    kinds = {"InstanceProfileName": "instance-profile", "UserName": "user", "RoleName": "role"}
    for parameter, kind in kinds.items():
        if parameter in parameters:
            return _identity_arn(kind, parameters[parameter])
    return "*"


def _ecr_resources(response: ECRResponse) -> list[str]:
    parameters = _json_body(response)
    if "resourceArn" in parameters:
        return [parameters["resourceArn"]]
    names = parameters.get("repositoryNames") or [parameters.get("repositoryName")]
    return [repository_arn(response.region, name) if name else "*" for name in names]


def _ssm_resources(response: SimpleSystemManagerResponse) -> list[str]:
    parameters = _json_body(response)
    if "Target" in parameters:
        document = f"arn:{PARTITION}:ssm:{response.region}:{ACCOUNT}:document/SSM-SessionManagerRunShell"
        return [instance_arn(response.region, parameters["Target"]), document]
    if "SessionId" in parameters:
        return [session_arn(response.region, parameters["SessionId"])]
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
