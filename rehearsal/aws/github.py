"""GitHub's part: the key it signs tokens with, and a token as a workflow's job gets it.

`python -m aws.github '{"sub": "repo:octocat/my-repo:ref:refs/heads/main"}'` prints one, with any claim
that is given.
"""

import json
import secrets
import sys
import time

from joserfc import jwt
from joserfc.jwk import RSAKey

from .settings import GITHUB_KEY

ISSUER = "https://token.actions.githubusercontent.com"
ALGORITHM = "RS256"
LIFETIME = 300  # seconds
AUDIENCE = "sts.amazonaws.com"  # which aws-actions/configure-aws-credentials asks for


def create_key() -> None:
    """Have a key, the same after a restart."""
    if not GITHUB_KEY.exists():
        GITHUB_KEY.parent.mkdir(parents=True, exist_ok=True)
        GITHUB_KEY.touch(mode=0o600)
        GITHUB_KEY.write_text(json.dumps(RSAKey.generate_key(2048).as_dict(private=True)))


def key() -> RSAKey:
    """The key; AWS would fetch its public half from the issuer."""
    return RSAKey.import_key(json.loads(GITHUB_KEY.read_text()))


def token(claims: dict[str, object]) -> str:
    """A token with these claims, and the usual ones where they are not among them."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "jti": secrets.token_hex(8)}
    times = {"iat": now, "nbf": now - LIFETIME, "exp": now + LIFETIME}
    return jwt.encode({"alg": ALGORITHM}, usual | times | claims, key())


if __name__ == "__main__":
    sys.stdout.write(token(json.loads(sys.argv[1])))
