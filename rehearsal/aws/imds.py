"""The instance metadata service at 169.254.169.254, version 2. Who asks is known by its VPC address."""

import datetime
import json
import secrets
import socket
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.iam.models import Role
from moto.sts.models import sts_backends

from .layout import METADATA
from .settings import ACCOUNT, PARTITION

TOKEN_TTL_LIMIT = 21600
SESSION_SECONDS = 6 * 3600
RENEWAL_SECONDS = 15 * 60
ROOT = "/latest/meta-data/"
USER_DATA = "/latest/user-data"
AWAKE = ("pending", "running", "stopping")  # others may have had the address before


@dataclass
class Session:
    """Credentials of an instance's role."""

    role: str
    expires: float
    document: dict[str, str]


@dataclass
class Metadata:
    """What the service remembers between two requests."""

    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def issue(self, instance: Instance, ttl: int) -> str:
        """A token only this instance can use, for so many seconds."""
        token = secrets.token_urlsafe(40)
        self.tokens[token] = (instance.id, time.time() + ttl)
        return token

    def accepts(self, token: str | None, instance: Instance) -> bool:
        """Whether a request may be answered."""
        if token is None:
            return instance.metadata_options.http_tokens != "required"
        owner, expires = self.tokens.get(token, ("", 0.0))
        return owner == instance.id and expires > time.time()

    def credentials(self, instance: Instance, role: Role) -> dict[str, str]:
        """The role's credentials, renewed well before they expire."""
        session = self.sessions.get(instance.id)
        if session is None or session.role != role.arn or session.expires - time.time() < RENEWAL_SECONDS:
            session = self.sessions[instance.id] = assume(instance, role)
        return session.document

    def answer(self, instance: Instance, path: str) -> str | None:
        """The document at a path; None if there is none."""
        document: dict[str, str | None] = {
            ROOT + "instance-id": instance.id,
            ROOT + "instance-type": instance.instance_type,
            ROOT + "ami-id": instance.image_id,
            ROOT + "local-ipv4": instance.private_ip,
            ROOT + "public-ipv4": instance.public_ip,
            ROOT + "local-hostname": instance.private_dns_name,
            ROOT + "hostname": instance.private_dns_name,
            ROOT + "public-hostname": instance.public_dns_name,
            ROOT + "placement/region": instance.region_name,
            ROOT + "placement/availability-zone": instance.availability_zone,
            ROOT + "services/domain": "amazonaws.com",
            "/latest/dynamic/instance-identity/document": json.dumps(
                {
                    "accountId": ACCOUNT,
                    "region": instance.region_name,
                    "availabilityZone": instance.availability_zone,
                    "instanceId": instance.id,
                    "instanceType": instance.instance_type,
                    "imageId": instance.image_id,
                    "privateIp": instance.private_ip,
                }
            ),
        }
        if instance.user_data:
            document[USER_DATA] = instance.user_data.decode()
        key_pair = instance.ec2_backend.key_pairs.get(instance.key_name)
        if key_pair:
            document[ROOT + "public-keys"] = f"0={key_pair.key_name}"
            document[ROOT + "public-keys/0"] = "openssh-key"
            document[ROOT + "public-keys/0/openssh-key"] = key_pair.public_key.strip()
        role = role_of(instance)
        if role:
            document[ROOT + "iam/security-credentials"] = role.name
            if path == ROOT + "iam/security-credentials/" + role.name:
                return json.dumps(self.credentials(instance, role), indent=2)
        return document.get(path) or _index(document, path)


def serve() -> None:
    """Answer for ever."""
    metadata = Metadata()

    class Handler(_Handler):
        service = metadata

    ThreadingHTTPServer((METADATA, 80), Handler).serve_forever()


class _Handler(BaseHTTPRequestHandler):
    service: Metadata
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""

    def do_PUT(self) -> None:
        instance = self._instance()
        if instance is None:
            return
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            self._send(HTTPStatus.NOT_FOUND)
        elif "X-Forwarded-For" in self.headers:
            self._send(HTTPStatus.FORBIDDEN)
        elif not ttl.isdigit() or not 1 <= int(ttl) <= TOKEN_TTL_LIMIT:
            self._send(HTTPStatus.BAD_REQUEST)
        else:
            # A container inside the instance is a hop further away: with a limit of 1 no token reaches it
            hops = instance.metadata_options.http_put_response_hop_limit
            self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(hops or 1))
            self._send(HTTPStatus.OK, self.service.issue(instance, int(ttl)))
            self.close_connection = True

    def do_GET(self) -> None:
        instance = self._instance()
        if instance is None:
            return
        if not self.service.accepts(self.headers.get("X-aws-ec2-metadata-token"), instance):
            self._send(HTTPStatus.UNAUTHORIZED)
            return
        answer = self.service.answer(instance, self.path.split("?")[0].rstrip("/"))
        self._send(HTTPStatus.NOT_FOUND if answer is None else HTTPStatus.OK, answer or "")

    def _instance(self) -> Instance | None:
        """The instance which asks; answers itself if there is none or its metadata is switched off."""
        for backend in ec2_backends[ACCOUNT].values():
            for instance in backend.all_instances():
                if instance.private_ip == self.client_address[0] and instance.state in AWAKE:
                    if instance.metadata_options.http_endpoint == "disabled":
                        self._send(HTTPStatus.FORBIDDEN)
                        return None
                    return instance
        self._send(HTTPStatus.NOT_FOUND)
        return None

    def _send(self, status: HTTPStatus, text: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: every boot asks dozens of times."""


def role_of(instance: Instance) -> Role | None:
    """The role that an instance has."""
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    roles = association.iam_instance_profile.roles if association else []
    return roles[0] if roles else None


def assume(instance: Instance, role: Role) -> Session:
    """Credentials of a role for an instance."""
    now = time.time()
    if "ec2.amazonaws.com" not in json.dumps(role.assume_role_policy_document):
        message = "EC2 cannot assume the role. Please see documentation for the role's trust policy."
        return Session(role.arn, now, {"Code": "AssumeRoleUnauthorizedAccess", "Message": message})
    session = sts_backends[ACCOUNT][PARTITION].assume_role(
        region_name=instance.region_name,
        role_session_name=instance.id,
        role_arn=role.arn,
        policy="",
        duration=SESSION_SECONDS,
        external_id="",
    )
    document = {
        "Code": "Success",
        "LastUpdated": _timestamp(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.session_token,
        "Expiration": _timestamp(now + SESSION_SECONDS),
    }
    return Session(role.arn, now + SESSION_SECONDS, document)


def _timestamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _index(document: dict[str, str | None], path: str) -> str | None:
    """A folder answers with the names in it."""
    below = {
        key.removeprefix(path + "/")
        for key, value in document.items()
        if value and key.startswith(path + "/")
    }
    names = {name.split("/")[0] + ("/" if "/" in name else "") for name in below}
    return "\n".join(sorted(names)) or None
