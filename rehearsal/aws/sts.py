"""AssumeRoleWithWebIdentity, as AWS decides it: by the provider, the token and the role's trust policy.

moto gives a role to whoever asks. Nobody signs this request: the token is what identifies.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.iam import iam_backends
from moto.iam.exceptions import NotFoundException
from moto.iam.models import OpenIDConnectProvider
from moto.iam.responses import IamResponse
from moto.sts.exceptions import STSClientError
from moto.sts.responses import TokenResponse

from . import github
from .iam import ALWAYS, hold, is_like
from .mend import adds, mends
from .settings import ACCOUNT, PARTITION

ACTION = "sts:AssumeRoleWithWebIdentity"


def install() -> None:
    """Decide by token and trust, and let the audiences of a provider be changed."""

    @mends(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action")
    def check(original: Callable[..., None], response: BaseResponse, *args: object) -> None:
        if not isinstance(response, TokenResponse) or f"sts:{response._get_action()}" != ACTION:
            original(response, *args)

    @mends(TokenResponse, "assume_role_with_web_identity")
    def assume(original: Callable[[TokenResponse], ActionResult], response: TokenResponse) -> ActionResult:
        claims = identify(response.params["WebIdentityToken"])
        if not trusts(response.params["RoleArn"], claims):
            raise STSClientError("AccessDenied", f"Not authorized to perform {ACTION}")
        return original(response)

    @adds(IamResponse, "add_client_id_to_open_id_connect_provider")
    def add(response: IamResponse) -> ActionResult:
        audiences = _provider_at(response.params["OpenIDConnectProviderArn"]).client_id_list
        if response.params["ClientID"] not in audiences:
            audiences.append(response.params["ClientID"])
        return EmptyResult()

    @adds(IamResponse, "remove_client_id_from_open_id_connect_provider")
    def remove(response: IamResponse) -> ActionResult:
        audiences = _provider_at(response.params["OpenIDConnectProviderArn"]).client_id_list
        if response.params["ClientID"] in audiences:
            audiences.remove(response.params["ClientID"])
        return EmptyResult()


def identify(token: str) -> dict[str, Any]:
    """The claims of a token that a provider of the account vouches for.

    Raises:
        STSClientError: It is not GitHub's, has expired, or is meant for somebody else.
    """
    try:
        claims = jwt.decode(token, github.key(), algorithms=[github.ALGORITHM]).claims
    except (JoseError, ValueError) as error:
        raise STSClientError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from error
    provider = iam_backends[ACCOUNT][PARTITION].open_id_providers.get(_provider_arn(claims["iss"]))
    if provider is None:
        raise STSClientError(
            "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {claims['iss']}"
        )
    if claims["iss"] != github.ISSUER:  # whose key this is
        raise STSClientError("InvalidIdentityToken", "The signature of the token is invalid.")
    if not claims["nbf"] <= time.time() < claims["exp"]:
        raise STSClientError("ExpiredTokenException", "Token expired: current date/time must be before it")
    if claims["aud"] not in provider.client_id_list:
        raise STSClientError("InvalidIdentityToken", "Incorrect token audience")
    return claims


def trusts(role_arn: str, claims: Mapping[str, str]) -> bool:
    """Whether a role's trust policy lets the bearer of these claims in."""
    try:
        role = iam_backends[ACCOUNT][PARTITION].get_role_by_arn(role_arn)
    except NotFoundException:
        return False
    issuer = claims["iss"].removeprefix("https://")
    context = ALWAYS | {f"{issuer}:{name}": [claims[name]] for name in ("aud", "sub")}
    statements = json.loads(role.assume_role_policy_document)["Statement"]
    effects = {
        statement["Effect"]
        for statement in (statements if isinstance(statements, list) else [statements])
        if any(is_like(action, ACTION) for action in _listed(statement["Action"]))
        and _provider_arn(claims["iss"]) in _listed(statement["Principal"].get("Federated", []))
        and hold(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _provider_arn(issuer: str) -> str:
    return f"arn:{PARTITION}:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('https://')}"


def _provider_at(arn: str) -> OpenIDConnectProvider:
    return iam_backends[ACCOUNT][PARTITION].get_open_id_connect_provider(arn)


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
