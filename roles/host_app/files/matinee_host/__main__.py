"""Serve the newest image of one ECR repository on this host, as one container.

Commands:
    run     The systemd unit's program: choose the image, start the container, wait until it is healthy,
            watch it until it ends.
    status  Print what is served, or why nothing is, as JSON.
    update  On a running host: make it serve the newest pushed image, or say why it does not.

Exit codes:
    0   run: stopped on request; status: printed; update: the newest pushed image is served.
    1   Something that may pass: Docker or AWS did not answer, or the container ended after it was healthy.
        systemd starts it again.
    2   Wrong arguments.
    3   update only: no image has been pushed to the repository yet.
    4   The image is at fault: its container ended at once or never became healthy. systemd leaves it be.
    78  The configuration file is at fault. systemd leaves it be.

Secrets are only ever in this process, in a file on tmpfs while the container starts, and in the container.
"""

import argparse
import dataclasses
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import docker
from docker.errors import DockerException

from matinee_host.cloud import Cloud, CloudError
from matinee_host.engine import (
    ImageError,
    ensure_image,
    fingerprint,
    give_data,
    has_image,
    image_uid,
    last_good,
    log_tail,
    prune,
    remove_container,
    run_container,
    wait_end,
    wait_healthy,
    write_environment,
)
from matinee_host.model import (
    Config,
    ExitCode,
    LaunchError,
    Release,
    Status,
    load_config,
    log,
    notify,
    read_state,
    read_status,
    replace_file,
    report,
    write_state,
)

UNIT = "matinee-app.service"
LOOK_AGAIN = 15  # seconds between two looks for a first image
PULL_TIMEOUT = 900  # seconds that a first pull may take, as in the unit
UNDER_WAY = ("starting", "pulling")


def run(config: Config) -> ExitCode:
    """Serve until the container ends or systemd asks to stop."""
    signal.signal(signal.SIGTERM, stop)
    failed = Status("failed")
    try:
        report(config, Status("starting"))
        engine = docker.from_env(timeout=120)
        release, remark = await_release(config, engine)
        failed = Status.of("failed", release)
        report(config, Status.of("starting", release, remark))
        serve(config, Cloud(config.region), engine, release, remark)
    except LaunchError as error:
        failure = error
    except (DockerException, OSError) as error:
        failure = LaunchError(str(error))
    except SystemExit:
        report(config, Status("stopped"))
        raise
    except Exception as error:
        report(config, dataclasses.replace(failed, reason=f"The launcher has a fault of its own: {error!r}"))
        raise
    report(config, dataclasses.replace(failed, reason=str(failure), log=failure.container_log))
    return failure.exit_code


def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End the program in good order; being asked again does not hurry it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(ExitCode.OK)


def await_release(config: Config, engine: docker.DockerClient) -> tuple[Release, str]:
    """Find the image to serve, and wait as long as there is none.

    Returns:
        The newest pushed image and "", or the last good one and why it is not the newest.
    """
    said = ""
    while True:
        # Anew each time: a client that was made without credentials never asks for them again
        cloud = Cloud(config.region)
        try:
            if digest := cloud.newest_digest(config.repository):
                return ensure_image(config, engine, cloud.registry(), digest), ""
            reason = f"No image has been pushed to {config.repository} yet."
        except CloudError as error:
            reason = str(error)
        if release := last_good(read_state(config.state_file), lambda image: has_image(engine, image)):
            return release, f"The last good image, because: {reason}"
        if reason != said:
            report(config, Status("no-image", reason))
            notify("READY=1")  # the host is up, whether or not an image ever comes
            said = reason
        time.sleep(LOOK_AGAIN)


def serve(
    config: Config, cloud: Cloud, engine: docker.DockerClient, release: Release, remark: str
) -> NoReturn:
    """Run the release, and watch it until it ends.

    Args:
        config: The host's configuration.
        cloud: Where the parameters are.
        engine: Docker.
        release: An image which is on the host.
        remark: Why it is not the newest image, or "".

    Raises:
        ImageError: The image does not become healthy.
        LaunchError: It does not, but perhaps for want of its parameters; or it was healthy and then ended.
    """
    try:
        parameters = cloud.read_parameters(config.parameters_path)
    except CloudError as error:
        if not remark:
            raise
        parameters, remark = {}, f"{remark} It runs without its parameters, because: {error}"
    image = engine.images.get(release.image)
    try:
        uid = image_uid(config, engine, image)
        give_data(config.data_directory, uid)
        write_environment(config.environment_file, parameters, uid)
        container = run_container(config, engine, image)
        reason = wait_healthy(container, config.health_url, config.health_timeout)
        config.environment_file.unlink()  # the container has read it
        if reason:
            raise (LaunchError if remark else ImageError)(reason, log_tail(container))
        state = read_state(config.state_file).after(release)
        write_state(config.state_file, state)
        replace_file(config.fingerprint_file, fingerprint(parameters))
        report(config, Status.of("serving", release, remark))
        notify("READY=1")
        prune(engine, state.releases)
        raise LaunchError(f"The container ended, {wait_end(engine, container)}.", log_tail(container))
    finally:
        config.environment_file.unlink(missing_ok=True)
        config.fingerprint_file.unlink(missing_ok=True)
        remove_container(engine, config.container)


def update(config: Config) -> ExitCode:
    """Make a running host serve the newest pushed image; print the status it comes to."""
    before = read_status(config.status_file)
    systemctl("start")  # joins a start which is under way
    status = settled_status(config)
    cloud = Cloud(config.region)
    newest = cloud.newest_digest(config.repository)
    if newest and (
        status.digest != newest or (status.state == "serving" and is_stale(config, cloud, status))
    ):
        systemctl("restart")
        status = read_status(config.status_file)
    print_json(dataclasses.asdict(status) | {"changed": status != before})
    if newest and status.state == "serving" and status.digest == newest:
        return ExitCode.OK
    print(f"The newest image is not served: {status.state}: {status.reason}", file=sys.stderr)
    print(status.log, file=sys.stderr)
    return ExitCode.FAILED if newest else ExitCode.NO_IMAGE


def is_stale(config: Config, cloud: Cloud, status: Status) -> bool:
    """Whether what serves does so for want of something better, or with other variables than are declared."""
    given = config.fingerprint_file.read_text() if config.fingerprint_file.exists() else ""
    return bool(status.reason) or given != fingerprint(cloud.read_parameters(config.parameters_path))


def settled_status(config: Config) -> Status:
    """Wait while the launcher is on its way: one that found no image at first is up before it serves.

    Returns:
        The status it comes to, or the last one when it takes longer than a pull and a start may take.
    """
    deadline = time.monotonic() + PULL_TIMEOUT + config.health_timeout
    while (status := read_status(config.status_file)).state in UNDER_WAY and time.monotonic() < deadline:
        time.sleep(0.5)
    return status


def systemctl(verb: str) -> None:
    """Have systemd start or restart the unit, and wait; the status says how that went better than it does."""
    subprocess.run(["/usr/bin/systemctl", verb, UNIT], check=False, stderr=subprocess.DEVNULL)


def print_json(values: dict[str, object]) -> None:
    """Print the result of a command, for people and programs."""
    print(json.dumps(values, indent=2))


def main() -> ExitCode:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        prog="matinee-host", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "status", "update"])
    parser.add_argument("--config", type=Path, default=Path("/etc/matinee/host.json"), metavar="FILE")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)  # its own steps; of the libraries, warnings
    try:
        config = load_config(options.config)
        if options.command == "run":
            return run(config)
        if options.command == "update":
            return update(config)
        print_json(dataclasses.asdict(read_status(config.status_file)))
    except LaunchError as error:
        print(f"matinee-host: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"matinee-host: {error}", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
