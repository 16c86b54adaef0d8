"""The app's data: which folder holds them, whose they are, and that a copy is what it was made of."""

import gzip
import hashlib
import os
import stat
import tarfile
from pathlib import Path

import pytest
from matinee_host.data import (
    checksum,
    data_folder,
    give,
    new_folder,
    pack,
    remove_unused,
    scratch,
    size_of,
    unpack,
    use_folder,
)
from matinee_host.model import LaunchError

from tests.host.launcher import APP_UID

OTHER_UID = APP_UID + (APP_UID == 4711)  # another only for root, who alone can give


def test_the_first_folder_is_made_and_found_again(tmp_path: Path) -> None:
    link = tmp_path / "data"
    folder = data_folder(link)
    (link / "file").write_text("kept")
    assert data_folder(link) == folder == link.resolve()
    assert folder.parent == tmp_path / "volumes"
    assert (folder / "file").read_text() == "kept"
    assert [stat.filemode(path.stat().st_mode) for path in (folder.parent, folder)] == ["drwx------"] * 2


def test_the_link_holds_wherever_the_folders_are_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    data_folder(tmp_path / "here/data")
    (tmp_path / "here/data/file").touch()
    (tmp_path / "here").rename(tmp_path / "there")
    assert (data_folder(tmp_path / "there/data") / "file").exists()


def test_another_folder_takes_its_place_and_no_other_is_kept_but_the_one_that_serves(tmp_path: Path) -> None:
    link = tmp_path / "data"
    first, second = data_folder(link), new_folder(link)
    (first / "file").touch()
    assert data_folder(link) == first
    use_folder(link, second)
    assert data_folder(link) == second
    assert list(link.iterdir()) == []
    use_folder(link, first)
    remove_unused(link, [second])
    assert second.exists()
    remove_unused(link, [first])
    assert [path.name for path in (link / "..").resolve().iterdir()] == [first.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "volumes"]
    assert (link / "file").exists()


def test_a_folder_changes_hands_with_all_it_holds(tmp_path: Path) -> None:
    folder, outside = data_folder(tmp_path / "data"), tmp_path / "outside"
    outside.touch()
    give(folder, APP_UID)
    (folder / "folder").mkdir()
    (folder / "folder/file").touch()
    (folder / "link").symlink_to(outside)
    give(folder, OTHER_UID)
    assert {path.lstat().st_uid for path in [folder, *folder.rglob("*")]} == {OTHER_UID}
    assert outside.stat().st_uid == os.getuid()


def test_a_copy_is_what_it_was_made_of(tmp_path: Path) -> None:
    folder, copy = data_folder(tmp_path / "data"), tmp_path / "copy"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/日本語 file").write_bytes(bytes(range(256)) * 1000)
    (folder / "empty").touch()
    (folder / "program").write_text("#!/bin/sh")
    (folder / "program").chmod(0o700)
    (folder / "link").symlink_to("deep/er")
    pack(folder, tmp_path / "archive")
    copy.mkdir()
    unpack(tmp_path / "archive", copy)
    described = [
        {
            path.relative_to(root): (path.lstat().st_mode, path.is_file() and path.read_bytes())
            for path in root.rglob("*")
            if not path.is_dir()
        }
        for root in (folder, copy)
    ]
    assert described[0] == described[1]
    assert (copy / "link/日本語 file").exists()
    assert size_of(folder) == size_of(copy) == 256000 + len("#!/bin/sh")
    give(copy, OTHER_UID)
    assert copy.stat().st_uid == OTHER_UID


def write_archive(file: Path, *members: tarfile.TarInfo) -> None:
    """Write an archive of members with no content."""
    with tarfile.open(file, "w:gz") as tar:
        for member in members:
            tar.addfile(member)


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    """Something in an archive."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, linkname
    return made


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("a/../../outside")],
        [member("link", tarfile.SYMTYPE, ".."), member("link/outside")],
        [member("link", tarfile.SYMTYPE, "/etc")],
        [member("link", tarfile.LNKTYPE, "../secret")],
        [member("device", tarfile.CHRTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
    ],
    ids=lambda members: members[0].name,
)
def test_an_archive_which_reaches_outside_is_refused(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("unchanged")
    write_archive(tmp_path / "archive", *members)
    with pytest.raises(LaunchError, match="The backup cannot be unpacked: "):
        unpack(tmp_path / "archive", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "folder", "secret"]
    assert (tmp_path / "secret").read_text() == "unchanged"


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write_archive(tmp_path / "archive", member(f"{tmp_path}/outside"))
    unpack(tmp_path / "archive", tmp_path / "folder")
    assert not (tmp_path / "outside").exists()


def test_an_archive_makes_no_program_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = member("file")
    file.mode, file.uid = 0o6777, 0
    write_archive(tmp_path / "archive", file)
    unpack(tmp_path / "archive", tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder/file").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"no archive",
        lambda _: gzip.compress(b"no archive" * 1000),
        lambda whole: whole[: len(whole) // 2],
    ],
    ids=["empty", "text", "compressed text", "half"],
)
def test_a_damaged_archive_is_refused(damage: object, tmp_path: Path) -> None:
    assert callable(damage)
    folder = data_folder(tmp_path / "data")
    (folder / "file").write_bytes(bytes(range(256)) * 1000)
    pack(folder, tmp_path / "archive")
    (tmp_path / "archive").write_bytes(damage((tmp_path / "archive").read_bytes()))
    with pytest.raises(LaunchError, match="The backup cannot be unpacked: "):
        unpack(tmp_path / "archive", new_folder(tmp_path / "data"))


def test_the_checksum_is_the_one_that_others_know(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10**6)
    assert checksum(tmp_path / "file") == hashlib.sha256(b"x" * 10**6).hexdigest()


def test_without_room_nothing_is_begun(tmp_path: Path) -> None:
    wanted = r"has \d+ MB left, and a copy of the data needs \d+ MB"
    with pytest.raises(LaunchError, match=wanted), scratch(tmp_path, 2**60):
        pytest.fail("it was begun")
    assert not list(tmp_path.iterdir())


def test_copies_are_taken_away_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), scratch(tmp_path, 2**20) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        raise KeyError
    assert not list(tmp_path.iterdir())
