"""Whom hosts trust beside the world's authorities: the rehearsal's own, and its ACME server's."""

import sys

import requests

from .settings import ACME_ROOT, AUTHORITY


def authorities() -> dict[str, bytes]:
    """File names and certificates.

    Raises:
        requests.RequestException: The ACME server does not answer (yet).
    """
    answer = requests.get(ACME_ROOT, verify=str(AUTHORITY), timeout=10)
    answer.raise_for_status()
    return {"rehearsal.crt": AUTHORITY.read_bytes(), "acme.crt": answer.content}


if __name__ == "__main__":
    for certificate in authorities().values():
        sys.stdout.write(certificate.decode())
