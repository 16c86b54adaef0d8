"""A local AWS with hosts that really boot.

python -m rehearsal up      make it stand (again); `. .rehearsal/<name>/activate` points a shell at it
python -m rehearsal status  what stands
python -m rehearsal down    take it away, hosts and images in its registry included
python -m rehearsal base    only make the images: bases, hosts and cloud
"""

import argparse
import os
import re
import sys
from pathlib import Path

import docker
from docker.errors import DockerException

from rehearsal import bases, images, profile
from rehearsal.progress import RehearsalError, say
from rehearsal.topology import Topology


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _arguments()
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        say(f"Docker does not answer: {error}\nInstall and start it, or let this user in (group docker).")
        return 1
    try:
        match arguments.command:
            case "base":
                _build(client)
            case "up":
                _up(client, arguments.name)
            case "status":
                return _status(client, arguments.name)
            case "down":
                _down(client, arguments.name, with_images=arguments.images)
    except RehearsalError as error:
        say(f"ERROR: {error}")
        return 1
    except DockerException as error:
        say(f"ERROR: docker refuses: {error}")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name) for name in ("up", "status", "down", "base")}
    for name in ("up", "status", "down"):
        parsers[name].add_argument("--name", type=_name, default="matinee", help="which rehearsal (matinee)")
    parsers["down"].add_argument("--images", action="store_true", help="remove the images made for it too")
    return parser.parse_args()


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError("a name is small letters, digits and hyphens, 31 at most")
    return text


def _port() -> int | None:
    text = os.environ.get("REHEARSAL_PORT")
    if not text:
        return None
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise RehearsalError(f"REHEARSAL_PORT is {text!r}; it must be a port number from 1024 to 65535.")
    return int(text)


def _build(client: docker.DockerClient) -> None:
    bases.ensure(client)
    images.build(client, images.HOST, "host", base=bases.DEBIAN)
    images.build(client, images.CLOUD, "cloud", base=bases.PYTHON, extra=("aws", "requirements.txt"))


def _up(client: docker.DockerClient, name: str) -> None:
    port = _port()
    _build(client)
    topology = Topology(client, name)
    port = topology.up(port)
    topology.require_reachable()
    images.prune(client)
    layout = topology.layout()
    if layout is None:
        raise RehearsalError(f"The networks of '{name}' are gone again; is another `down` running?")
    activate = profile.write(name, port, layout, topology.administrator(), topology.authorities())
    say(f"The rehearsal '{name}' is up: the AWS API is at http://127.0.0.1:{port}.")
    say(f"Point this shell at it:  . {os.path.relpath(activate, Path.cwd())}")


def _status(client: docker.DockerClient, name: str) -> int:
    topology = Topology(client, name)
    states = topology.states()
    if not states:
        say(f"The rehearsal '{name}' is not up. Start it: python -m rehearsal up")
        return 1
    print(f"api http://127.0.0.1:{topology.port()}")
    for container, state in states.items():
        print(f"{container} {state}")
    return 0


def _down(client: docker.DockerClient, name: str, *, with_images: bool) -> None:
    Topology(client, name).down()
    profile.remove(name)
    if with_images:
        images.remove(client, images.CLOUD, images.HOST, bases.PYTHON, bases.DEBIAN)
    say(f"The rehearsal '{name}' is gone.")


if __name__ == "__main__":
    sys.exit(main())
