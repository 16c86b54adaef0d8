# SPDX-License-Identifier: Apache-2.0
"""What an error from AWS means for the person who reads it."""

from __future__ import annotations

import contextlib
import re

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import (
        ClientError,
        CredentialRetrievalError,
        EndpointConnectionError,
        NoCredentialsError,
        PartialCredentialsError,
        TokenRetrievalError,
        UnauthorizedSSOTokenError,
    )

ACCESS_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
BAD_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


def missing_right(message: str) -> str | None:
    """Name the right that an IAM refusal is about, or None when the message is no such refusal."""
    found = re.search(r"not authorized to perform: ([\w-]+:\w+)(?:[^\n]*? on resource: ([^\s\"]+))?", message)
    if not found:
        return None
    action, resource = found.groups()
    return f"{action} on {resource}" if resource else action


def explain(error: Exception, region: str | None) -> str:
    """Say what went wrong and what to do about it.

    Args:
        error: a ClientError or another BotoCoreError.
        region: the region that was asked, for the messages where it may be the reason.

    Returns:
        One or two sentences, without values of the request.
    """
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return (
            "No AWS credentials found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "in the shell that runs Ansible."
        )
    if isinstance(error, (CredentialRetrievalError, TokenRetrievalError, UnauthorizedSSOTokenError)):
        return (
            f"Could not obtain AWS credentials. Log in again (for example `aws sso login`). AWS says: {error}"
        )
    if isinstance(error, EndpointConnectionError):
        return (
            f"Cannot reach AWS in region {region}. Check the region's name and the network. Details: {error}"
        )
    if not isinstance(error, ClientError):
        return str(error)

    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code in BAD_CREDENTIALS:
        return (
            "AWS did not accept the credentials: they are wrong, expired or deleted. "
            f"See who you are with `aws sts get-caller-identity`. AWS says: {code}: {message}"
        )
    if code in ACCESS_DENIED:
        right = missing_right(message) or error.operation_name
        return f"These AWS credentials lack the right {right}. Add it to their policy. AWS says: {message}"
    return f"AWS refused {error.operation_name} in region {region}: {code}: {message}"
