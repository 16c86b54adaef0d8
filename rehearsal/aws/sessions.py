"""Session Manager: who may start a session on which instance, and a shell on its host at the other end.

moto has none of it. What AWS's plugin and agent say to each other is not imitated: here the data channel
carries what is typed and what is shown, and nothing else.
"""

import contextlib
import json
import secrets
import select
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
from docker.errors import NotFound
from moto.core.exceptions import JsonRESTError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ssm.responses import SimpleSystemManagerResponse

from .iam import instance_arn, refusal, session_arn
from .imds import assume, role_of
from .mend import adds
from .settings import ACCOUNT, Settings

PORT = 8022
CHANNEL = "/v1/data-channel/"
AGENT = "amazon-ssm-agent.service"
USER = "ssm-user"
# What a terminal sends for "stop what runs" and "that was all"
GOODBYE = b"\x03\x04"
# What the agent asks for all the time; the others have no resource to name
ON_THE_INSTANCE = "ssm:UpdateInstanceInformation"
CHANNELS = [f"ssmmessages:{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data")]


@dataclass
class Session:
    """A session that was started, and not ended yet.

    Attributes:
        token: What its visitor has to show.
        instance_id: Where it leads.
        allowed: Whether who started it may open its data channel.
        visitor: The connection, once there is one.
    """

    token: str
    instance_id: str
    allowed: bool
    visitor: socket.socket | None = None


class Sessions:
    """The API's part, and the data channels."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.docker = docker.APIClient(version="auto")
        self.open: dict[str, Session] = {}

    def install(self) -> None:
        """Add what the API lacks."""

        @adds(SimpleSystemManagerResponse, "start_session")
        def start(response: SimpleSystemManagerResponse) -> str:
            target = response._get_param("Target")
            if not list(self._connected([target])):
                raise JsonRESTError("TargetNotConnected", f"{target} is not connected.")
            name, token = f"session-{secrets.token_hex(9)}", secrets.token_urlsafe(40)
            key_id, theirs = response.get_access_key(), response.headers.get("X-Amz-Security-Token")
            channel = session_arn(response.region, name)
            allowed = refusal(key_id, theirs, "ssmmessages:OpenDataChannel", channel) is None
            self.open[name] = Session(token, target, allowed)
            stream = f"ws://{response.headers['Host']}{CHANNEL}{name}"
            return json.dumps({"SessionId": name, "TokenValue": token, "StreamUrl": stream})

        @adds(SimpleSystemManagerResponse, "terminate_session")
        def terminate(response: SimpleSystemManagerResponse) -> str:
            name = response._get_param("SessionId")
            session = self.open.pop(name, None)
            if session and session.visitor:
                with contextlib.suppress(OSError):
                    session.visitor.shutdown(socket.SHUT_RDWR)
            return json.dumps({"SessionId": name})

        @adds(SimpleSystemManagerResponse, "describe_instance_information")
        def describe(response: SimpleSystemManagerResponse) -> str:
            wanted = [
                value
                for one in response._get_param("Filters") or []
                if one["Key"] == "InstanceIds"
                for value in one["Values"]
            ]
            return json.dumps(
                {
                    "InstanceInformationList": [
                        {"InstanceId": instance.id, "PingStatus": "Online", "ResourceType": "EC2Instance"}
                        for instance in self._connected(wanted)
                    ]
                }
            )

    def serve(self) -> None:
        """Take visitors for ever."""
        sessions = self

        class Handler(_Handler):
            owner = sessions

        ThreadingHTTPServer((str(self.settings.layout.aws), PORT), Handler).serve_forever()

    def shell(self, session: Session) -> socket.socket:
        """Start a shell on the host, with a terminal, as the agent does; returns its end of the wire."""
        made = self.docker.exec_create(
            self._container(session.instance_id), ["sh"], stdin=True, tty=True, user=USER, workdir="/usr/bin"
        )
        wire = self.docker.exec_start(made, socket=True, tty=True)
        connection: socket.socket = getattr(wire, "_sock", wire)
        connection.settimeout(None)
        return connection

    def _connected(self, wanted: Collection[str]) -> Iterator[Instance]:
        """Those of the wanted instances, or of all, whose agent runs and may do what it does."""
        for backend in list(ec2_backends[ACCOUNT].values()):
            for instance in list(backend.all_instances()):
                asked_for = instance.state == "running" and (not wanted or instance.id in wanted)
                if asked_for and self._agent_runs(instance) and _agent_may(instance):
                    yield instance

    def _agent_runs(self, instance: Instance) -> bool:
        try:
            asked = self.docker.exec_create(
                self._container(instance.id), ["systemctl", "is-active", "--quiet", AGENT]
            )
            self.docker.exec_start(asked)
        except (NotFound, docker.errors.APIError):  # not made yet, or going off
            return False
        return self.docker.exec_inspect(asked)["ExitCode"] == 0

    def _container(self, instance_id: str) -> str:
        return f"{self.settings.name}-{instance_id}"


class _Handler(BaseHTTPRequestHandler):
    owner: Sessions
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Connect the visitor of a session with a shell."""
        session = self.owner.open.get(self.path.removeprefix(CHANNEL))
        if (
            session is None
            or not session.allowed
            or self.headers.get("Authorization") != f"Bearer {session.token}"
        ):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        self.close_connection = True
        session.visitor = self.connection
        with contextlib.closing(self.owner.shell(session)) as shell:
            self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
            self.send_header("Upgrade", "session")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            _connect(self.connection, shell)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def _connect(visitor: socket.socket, shell: socket.socket) -> None:
    """Pass on what is typed and shown, until one of both has ended."""
    other = {visitor: shell, shell: visitor}
    with contextlib.suppress(OSError):
        while True:
            for ready in select.select([visitor, shell], [], [])[0]:
                if not (data := ready.recv(65536)):
                    if ready is visitor:
                        shell.sendall(GOODBYE)
                    return
                other[ready].sendall(data)


def _agent_may(instance: Instance) -> bool:
    role = role_of(instance)
    key = assume(instance, role).document if role else {}
    if "AccessKeyId" not in key:
        return False
    asked = dict.fromkeys(CHANNELS, "*")
    asked[ON_THE_INSTANCE] = instance_arn(instance.region_name, instance.id)
    return all(refusal(key["AccessKeyId"], key["Token"], action, on) is None for action, on in asked.items())
