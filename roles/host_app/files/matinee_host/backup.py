"""Copies of the app's data in an S3 bucket."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matinee_host import data
from matinee_host.cloud import Cloud
from matinee_host.model import Config, LaunchError
from matinee_host.stage import Stage

PREFIX = "data/"
SUFFIX = ".tar.gz"


def back_up(config: Config, stage: Stage, bucket: str) -> dict[str, Any]:
    """Copy the data to a bucket; the app stands still only while they are copied on this disk.

    Returns:
        The backup's name, bytes, sha256, and the version that served.
    """
    version = stage.serving.release.version if stage.serving else "none"
    needed = 2 * data.size_of(data.data_folder(config.data_directory))
    with data.scratch(Path(config.state_directory), needed) as scratch:
        with stage.standstill() as folder:
            data.copy(folder, scratch / "data")
        archive = scratch / "archive"
        data.pack(scratch / "data", archive)
        name, digest = f"{PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{version}{SUFFIX}", data.checksum(archive)
        Cloud(config.region).upload(bucket, name, archive, {"sha256": digest})
        return {"backup": name, "bytes": archive.stat().st_size, "sha256": digest, "version": version}


def fetch(config: Config, bucket: str, wanted: str) -> tuple[str, Path]:
    """Bring a backup, the newest unless one is named, to a folder beside the one in use.

    Returns:
        The backup's name and the folder.

    Raises:
        LaunchError: There is none, or it is damaged.
    """
    cloud = Cloud(config.region)
    names = [key for key in cloud.keys(bucket, PREFIX) if key.endswith(SUFFIX)]
    if not names:
        raise LaunchError("There is no backup yet: make one with backup.yml.")
    name = wanted or names[-1]
    if name not in names:
        raise LaunchError(f"There is no backup {name}. There are: {', '.join(names)}.")
    with data.scratch(Path(config.state_directory), 0) as scratch:
        metadata = cloud.download(bucket, name, scratch / "archive")
        if data.checksum(scratch / "archive") != metadata.get("sha256"):
            raise LaunchError(f"The backup {name} is not what was written: its checksum differs.")
        folder = data.new_folder(config.data_directory)
        try:
            data.unpack(scratch / "archive", folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
    return name, folder
