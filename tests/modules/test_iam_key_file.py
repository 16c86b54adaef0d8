"""iam_key_file: a key whose secret is never lost, and a change of it without a moment without one."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws import Rehearsal
from tests.modules.running import Client, Outcome, RunModule


class User:
    """A user of the account, the file of its key, and the module run for both."""

    def __init__(self, rehearsal: Rehearsal, run_module: RunModule, folder: Path) -> None:
        self.rehearsal, self.run_module = rehearsal, run_module
        self.iam, self.name = rehearsal.boto("iam"), f"ci-{uuid.uuid4().hex[:8]}"
        self.file = folder / "keys" / "github-secrets.env"
        self.iam.create_user(UserName=self.name)

    def run(self, check: bool = False, **options: Any) -> Outcome:
        """Run the module for this user; nothing that it tells has the secret."""
        arguments = {"user": self.name, "path": str(self.file), "region": "eu-central-1"}
        run = self.run_module("iam_key_file", arguments | options, check)
        if self.file.exists():
            assert self.written["AWS_SECRET_ACCESS_KEY"] not in run.output
        return run

    @property
    def keys(self) -> list[str]:
        """The ids that AWS has, the oldest first."""
        listed = self.iam.list_access_keys(UserName=self.name)["AccessKeyMetadata"]
        return [key["AccessKeyId"] for key in sorted(listed, key=lambda key: key["CreateDate"])]

    @property
    def written(self) -> dict[str, str]:
        """What is in the file."""
        return dict(line.split("=", 1) for line in self.file.read_text().splitlines())

    def works(self) -> None:
        """Use the key of the file."""
        pair = self.written["AWS_ACCESS_KEY_ID"], self.written["AWS_SECRET_ACCESS_KEY"]
        named = dict(zip(("aws_access_key_id", "aws_secret_access_key"), pair, strict=True))
        self.rehearsal.boto("sts", **named).get_caller_identity()

    def note(self, text: str) -> None:
        """Write down what an interrupted run had."""
        self.iam.tag_user(UserName=self.name, Tags=[{"Key": "Keys", "Value": text}])


@pytest.fixture
def user(rehearsal: Rehearsal, run_module: RunModule, tmp_path: Path) -> User:
    return User(rehearsal, run_module, tmp_path)


@pytest.fixture
def with_key(user: User) -> User:
    user.run()
    return user


def test_a_first_key_is_made_once_and_works(user: User) -> None:
    made = user.run()
    assert (made.changed, made.result["step"], made.result["key_ids"]) == (True, "made", user.keys)
    assert user.file.stat().st_mode & 0o777 == 0o600
    assert user.file.parent.stat().st_mode & 0o777 == 0o700
    user.works()
    user.file.unlink()  # moved to where it is used
    assert not user.run().changed


@pytest.mark.parametrize("written", [False, True])
def test_an_interrupted_run_leaves_a_key_that_is_known(user: User, written: bool) -> None:
    user.note("making")
    key = user.iam.create_access_key(UserName=user.name)["AccessKey"]["AccessKeyId"]
    if written:
        user.file.parent.mkdir()
        user.file.write_text(f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY=written\n")
    assert user.run().changed
    assert (user.keys == [key]) is written
    assert len(user.keys) == 1
    if not written:
        user.works()


def test_a_key_that_was_made_by_hand_is_left_alone(with_key: User) -> None:
    theirs = with_key.iam.create_access_key(UserName=with_key.name)["AccessKey"]["AccessKeyId"]
    rotated = with_key.run(state="rotated")
    assert rotated.failed
    assert "has two keys" in rotated.message
    assert theirs in with_key.keys


def test_a_file_that_cannot_be_written_costs_no_key(user: User) -> None:
    user.file.parent.write_text("no folder")
    run = user.run()
    assert run.failed
    assert "cannot be written" in run.message
    assert not user.keys


def test_rotation_goes_from_one_key_over_two_to_the_other(with_key: User) -> None:
    [old] = with_key.keys
    predicted = with_key.run(check=True, state="rotated")
    assert (predicted.result["step"], with_key.keys) == ("begun", [old])
    begun = with_key.run(state="rotated")
    assert begun.result["step"] == "begun"
    assert with_key.keys == begun.result["key_ids"] == [old, with_key.written["AWS_ACCESS_KEY_ID"]]
    waiting = with_key.run(state="rotated")
    assert (waiting.changed, waiting.result["step"]) == (False, "waiting")
    with_key.works()
    finished = with_key.run(state="rotated")
    assert (finished.result["step"], with_key.keys) == ("finished", [begun.result["key_ids"][1]])


def test_an_interrupted_rotation_goes_on(with_key: User) -> None:
    [old] = with_key.keys
    with_key.file.unlink()
    with_key.note(f"{old} making")
    lost = with_key.iam.create_access_key(UserName=with_key.name)["AccessKey"]["AccessKeyId"]
    begun = with_key.run(state="rotated")
    assert begun.result["step"] == "begun"
    assert with_key.keys[0] == old
    assert lost not in with_key.keys
    with_key.works()


@pytest.mark.parametrize("again", [False, True])
def test_a_rotation_whose_end_was_not_written_down_has_ended(with_key: User, again: bool) -> None:
    [old] = with_key.keys
    with_key.run(state="rotated")
    with_key.iam.delete_access_key(UserName=with_key.name, AccessKeyId=old)
    with_key.works()
    finished = with_key.run(state="rotated", again=again)
    assert (finished.result["step"], with_key.keys) == ("finished", [with_key.written["AWS_ACCESS_KEY_ID"]])
    assert with_key.run(state="rotated").result["step"] == "begun"


def test_a_lost_file_is_made_again_and_the_old_key_removed_by_wish(with_key: User) -> None:
    [old] = with_key.keys
    with_key.run(state="rotated")
    lost = with_key.keys[1]
    with_key.file.unlink()
    again = with_key.run(state="rotated", again=True)
    assert again.result["step"] == "begun"
    assert old in with_key.keys
    assert lost not in with_key.keys
    assert with_key.run(state="rotated", finish=True).result["step"] == "finished"
    assert with_key.keys == [with_key.written["AWS_ACCESS_KEY_ID"]]


def test_a_user_that_is_not_there_is_named(user: User, aws: Client) -> None:
    aws("iam").delete_user(UserName=user.name)
    run = user.run()
    assert run.failed
    assert user.name in run.message
