"""Who is asking: a browser is known by a random token in a cookie; nothing a request says names a person."""

import hashlib
import re
import secrets

COOKIE = "matinee"
COOKIE_SECONDS = 400 * 24 * 3600  # the longest a browser keeps one; each page load begins it anew

_TOKEN = re.compile(r"[\w-]{43}", re.ASCII)  # 256 bits in URL-safe Base64


def new_token() -> str:
    """Return a token nobody can guess."""
    return secrets.token_urlsafe(32)


def is_token(value: str | None) -> bool:
    """Whether a cookie's value is such a token; any other is replaced."""
    return value is not None and _TOKEN.fullmatch(value) is not None


def person_of(token: str) -> str:
    """Return the id of the person who has the token, which does not give the token away."""
    return hashlib.sha256(token.encode()).hexdigest()
