"""Serve the newest good image of one ECR repository on this host, behind nginx.

Commands:
    run       The systemd unit's program: serve, watch, and do as the others ask.
    watch     The program of the unit beside it: figures and logs to CloudWatch, as far as they are wanted.
    status    Print what is served, or why nothing is, with what is known of versions and of the show.
    release   Serve the newest pushed image now; visitors notice nothing.
    restart   Start what serves anew, beside itself, with its parameters as they are now.
    rollback  Serve the previous good version, or a named one; what was served is marked.
    show      Say, or change, when the machine stops by itself.
    backup    Copy the app's data to an S3 bucket.
    restore   Serve with the data of a backup.

Exit codes:
    0   Done.
    1   It failed for a reason that may pass; what served before still serves.
    2   Wrong arguments.
    3   No image has been pushed to the repository yet.
    4   The image is at fault; it is not tried again by itself.
    5   Somebody else's release did not end in time.
    78  The configuration file is at fault.

Secrets are only ever in this process, in a file on tmpfs while the container starts, and in the container.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import docker
from docker.errors import DockerException
from requests import RequestException

from matinee_host import engine, proxy
from matinee_host.control import Request, ask
from matinee_host.model import Config, ExitCode, LaunchError, load_config, log, read_state
from matinee_host.show import Show
from matinee_host.status import read_status
from matinee_host.supervisor import Supervisor
from matinee_host.watch import watch

YEAR = 365 * 24 * 60  # minutes


def run(config: Config) -> NoReturn:
    """Serve until systemd asks to stop, or to go on with a new program."""
    supervisor = Supervisor(config)

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # being asked again does not hurry it
        sys.exit(ExitCode.OK)

    def reload(_signal: int, _frame: FrameType | None) -> None:
        supervisor.reload = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, reload)
    try:
        supervisor.run()
    except SystemExit:
        supervisor.end()
        raise
    # The new program takes the container over as it runs; until it listens, a reload is the same as this one
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - by the path of this very interpreter


def status(config: Config) -> dict[str, Any]:
    """What this host does, remembers and is about to do."""
    state = dataclasses.asdict(read_state(config.state_file))
    show = Show.load(config).described()
    return (
        dataclasses.asdict(read_status(config.status_file))
        | state
        | {"visitors": visitors(config), "show": show}
    )


def visitors(config: Config) -> int:
    """How many connections visitors have open."""
    address = ""
    with contextlib.suppress(DockerException, RequestException, OSError):  # it has just ended
        container = docker.from_env(timeout=10).containers.get(proxy.Proxy(config).serving())
        address = engine.address_of(container)
    return proxy.visitors(config, address)


def command(config: Config, options: argparse.Namespace) -> ExitCode:
    """Have the launcher do something, and print what came of it."""
    names = {field.name for field in dataclasses.fields(Request)} - {"action"}
    given = {name: value for name, value in vars(options).items() if name in names and value is not None}
    try:
        reply = ask(config, Request(options.command, **given), options.wait)
    except LaunchError as error:
        reply = {"exit_code": error.exit_code, "reason": str(error), "log": ""}
    if options.command in ("release", "restart", "rollback", "restore"):
        print_json(reply.get("result", {"changed": False}) | status(config))
    elif "result" in reply:
        print_json(reply["result"])
    if reply["exit_code"]:
        print(reply["reason"], file=sys.stderr)
        print(reply["log"], file=sys.stderr)
    return ExitCode(reply["exit_code"])


def print_json(values: dict[str, Any]) -> None:
    """Print the result of a command, for people and programs."""
    print(json.dumps(values, indent=2))


def amount(text: str) -> float:
    """Read hours or minutes from the command line."""
    value = float(text)
    if not 0 <= value <= YEAR:  # nor is it nan
        raise ValueError(text)
    return value


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="matinee-host", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("/etc/matinee/host.json"), metavar="FILE")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    commands.add_parser("watch")
    commands.add_parser("status")
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--by", metavar="WHO", help="who asks, for the history")
    asking.add_argument(
        "--wait", type=amount, default=900, metavar="SECONDS", help="for somebody else's turn"
    )
    release = commands.add_parser("release", parents=[asking])
    release.add_argument("--again", action="store_true", help="also an image that has failed before")
    commands.add_parser("restart", parents=[asking])
    rollback = commands.add_parser("rollback", parents=[asking])
    rollback.add_argument("--version", help="this one, not the previous one")
    show = commands.add_parser("show", parents=[asking])
    show.add_argument("--hours", type=amount, help="stop this many hours from now")
    show.add_argument("--idle-minutes", type=amount, help="stop after so long without a visitor; 0: never")
    show.add_argument("--even-if-watched", action=argparse.BooleanOptionalAction)
    for name in ("backup", "restore"):
        copying = commands.add_parser(name, parents=[asking])
        copying.add_argument("--bucket", required=True)
        if name == "restore":
            copying.add_argument("--backup", metavar="NAME", help="this one, not the newest")
    return parser.parse_args()


def main() -> ExitCode:
    """Run one of the commands."""
    options = parse()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)  # its own steps; of the libraries, warnings
    try:
        config = load_config(options.config)
        if options.command == "run":
            run(config)
        if options.command == "watch":
            watch(config)
        if options.command == "status":
            print_json(status(config))
            return ExitCode.OK
        return command(config, options)
    except LaunchError as error:
        print(f"matinee-host: {error}", file=sys.stderr)
        return error.exit_code
    except (DockerException, OSError) as error:
        print(f"matinee-host: {error}", file=sys.stderr)
        return ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
