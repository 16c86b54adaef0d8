"""app_parameters, against Parameter Store."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.modules.running import Client, Outcome, RunModule

SECRET = "s3cr-et öä 'q' \"d\" $HOME `id`"
SECRETS = {"API_KEY": SECRET, "MULTILINE": "first-hidden-line\nsecond-hidden-line\n", "EMPTY": ""}
ODD = {
    "SPACES": "  both ends  ",
    "QUOTES": 'it\'s "quoted" $HOME \\ `id`',
    "LINES": "one\ntwo\n",
    "UNICODE": "Zürich 東京 🎭",
    "FLAG": True,
    "NUMBER": 6,
    "LARGEST": "x" * 4096,
}
MANY = {f"VARIABLE_{number}": f"value {number}" for number in range(12)}
TAGS = {"Project": "ragstream", "Stage": "test"}
NOTHING = {"Effect": "Deny", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def path(aws: Client) -> Iterator[str]:
    path = f"/test-{uuid.uuid4().hex[:8]}/stage/env"
    yield path
    for name in stored(aws, path):
        aws("ssm").delete_parameter(Name=f"{path}/{name}")


def stored(aws: Client, path: str) -> dict[str, tuple[str, str]]:
    pages = aws("ssm").get_paginator("get_parameters_by_path")
    found = pages.paginate(Path=path, Recursive=True, WithDecryption=True).build_full_result()["Parameters"]
    return {one["Name"].removeprefix(f"{path}/"): (one["Type"], one["Value"]) for one in found}


def tags_of(aws: Client, name: str) -> dict[str, str]:
    tags = aws("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def hides_secrets(outcome: Outcome) -> bool:
    return not any(part in outcome.output for part in ("s3cr-et", "hidden-line", "rotated"))


@pytest.fixture(scope="module")
def declared(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "settings": ODD | MANY,
        "secrets": SECRETS,
        "optional": ["EMPTY", "UNSET"],
        "tags": TAGS,
    }


@pytest.fixture(scope="module")
def predicted(run_module: RunModule, aws: Client, declared: dict[str, Any]) -> Outcome:
    outcome = run_module("app_parameters", declared, check=True)
    assert stored(aws, declared["path"]) == {}, "check mode has written"
    return outcome


@pytest.fixture(scope="module")
def created(run_module: RunModule, declared: dict[str, Any], predicted: Outcome) -> Outcome:
    return run_module("app_parameters", declared)


def test_check_mode_predicts_what_is_done(predicted: Outcome, created: Outcome) -> None:
    assert predicted.changed
    assert predicted.result["parameters"] == created.result["parameters"]


def test_every_declared_variable_is_stored_as_it_is(aws: Client, path: str, created: Outcome) -> None:
    texts = ODD | MANY | {"FLAG": "true", "NUMBER": "6"}
    secrets = {name: ("SecureString", value) for name, value in SECRETS.items() if value}
    assert stored(aws, path) == {name: ("String", text) for name, text in texts.items()} | secrets


def test_optional_secret_without_a_value_is_skipped(created: Outcome) -> None:
    actions = created.result["parameters"]
    assert {name for name, action in actions.items() if action == "skipped"} == {"EMPTY", "UNSET"}
    assert set(actions.values()) == {"created", "skipped"}


def test_new_variables_carry_the_tags(aws: Client, path: str, created: Outcome) -> None:
    assert tags_of(aws, f"{path}/API_KEY") == TAGS


def test_nothing_printed_shows_a_secret(predicted: Outcome, created: Outcome) -> None:
    assert "API_KEY" in created.output
    assert hides_secrets(predicted)
    assert hides_secrets(created)


def test_same_declaration_changes_nothing(
    run_module: RunModule, created: Outcome, declared: dict[str, Any]
) -> None:
    again = run_module("app_parameters", declared)
    assert not again.changed
    assert set(again.result["parameters"].values()) == {"unchanged", "skipped"}


def test_each_difference_is_put_right(
    run_module: RunModule, aws: Client, path: str, created: Outcome
) -> None:
    full = f"{path}/VARIABLE_1"
    aws("ssm").remove_tags_from_resource(ResourceType="Parameter", ResourceId=full, TagKeys=["Stage"])
    aws("ssm").put_parameter(Name=f"{path}/deeper/STRAY", Value="x", Type="String")
    before = aws("ssm").get_parameter(Name=f"{path}/VARIABLE_2")["Parameter"]["Version"]

    changed = run_module(
        "app_parameters",
        {
            "path": path,
            "settings": {"VARIABLE_0": "another", "VARIABLE_1": "value 1", "VARIABLE_2": "value 2"},
            # one rotated, one without a value, one that was a setting before
            "secrets": {"API_KEY": "rotated-1", "MULTILINE": None, "QUOTES": "rotated-2"},
            "tags": TAGS,
        },
    )

    actions = changed.result["parameters"]
    assert {name for name, action in actions.items() if action == "updated"} == {
        "VARIABLE_0",
        "VARIABLE_1",
        "API_KEY",
        "QUOTES",
    }
    assert actions["MULTILINE"] == "kept"
    assert actions["VARIABLE_2"] == "unchanged"
    assert actions["VARIABLE_9"] == actions["deeper/STRAY"] == "removed"
    assert stored(aws, path) == {
        "VARIABLE_0": ("String", "another"),
        "VARIABLE_1": ("String", "value 1"),
        "VARIABLE_2": ("String", "value 2"),
        "API_KEY": ("SecureString", "rotated-1"),
        "MULTILINE": ("SecureString", SECRETS["MULTILINE"]),
        "QUOTES": ("SecureString", "rotated-2"),
    }
    assert tags_of(aws, full) == TAGS
    assert aws("ssm").get_parameter(Name=f"{path}/VARIABLE_2")["Parameter"]["Version"] == before
    assert hides_secrets(changed)


def test_only_what_is_named_is_seen_to(run_module: RunModule, aws: Client) -> None:
    path = f"/test-{uuid.uuid4().hex[:8]}/stage/env"
    before = {"A": ("SecureString", "1"), "B": ("String", "2"), "C": ("String", "3")}
    for name, (kind, value) in before.items():
        aws("ssm").put_parameter(Name=f"{path}/{name}", Type=kind, Value=value)
    arguments = {"path": path, "settings": {"B": "new"}, "secrets": {"A": "4"}, "only": ["A"]}
    assert run_module("app_parameters", arguments).result["parameters"] == {"A": "updated"}
    after = stored(aws, path)
    for name in before:
        aws("ssm").delete_parameter(Name=f"{path}/{name}")
    assert after == before | {"A": ("SecureString", "4")}


def test_missing_secret_stops_everything(
    run_module: RunModule, aws: Client, path: str, created: Outcome
) -> None:
    before = stored(aws, path)
    outcome = run_module(
        "app_parameters",
        {"path": path, "settings": {"NEW": "x"}, "secrets": {"NEVER_SET": "", "OTHER": SECRET}},
    )
    assert outcome.failed
    assert "NEVER_SET" in outcome.message
    assert "export NEVER_SET=" in outcome.message
    assert stored(aws, path) == before
    assert hides_secrets(outcome)


def test_bad_declaration_lists_every_reason(run_module: RunModule) -> None:
    outcome = run_module(
        "app_parameters",
        {
            "path": "/",
            "settings": {"1ST": "x", "LIST": [1], "HOLLOW": "", "BOTH": "x", "LONG": "é" * 2049},
            "secrets": {"BOTH": "s3cr-et", "NESTED": "{{ '{{' }}s3cr-et{{ '}}' }}"},
        },
    )
    assert outcome.failed
    for reason in (
        "path '/'",
        "'1ST'",
        "LIST is a list",
        "HOLLOW is empty",
        "BOTH is both",
        "LONG is 4098 bytes",
        "NESTED contains {{",
    ):
        assert reason in outcome.message
    assert hides_secrets(outcome)


def test_missing_right_is_named(run_module: RunModule, path: str, as_user: Any) -> None:
    outcome = run_module(
        "app_parameters", {"path": path, "secrets": {"API_KEY": SECRET}}, environment=as_user([NOTHING])
    )
    assert outcome.failed
    assert "lack the right ssm:GetParametersByPath" in outcome.message
    assert hides_secrets(outcome)


def test_absent_removes_the_path_and_no_other(
    run_module: RunModule, aws: Client, path: str, created: Outcome
) -> None:
    neighbour = f"{path}ironment/KEPT"
    aws("ssm").put_parameter(Name=neighbour, Value="x", Type="String")
    try:
        removed = run_module("app_parameters", {"path": path, "state": "absent"})
        again = run_module("app_parameters", {"path": path, "state": "absent"})
        assert set(removed.result["parameters"].values()) == {"removed"}
        assert stored(aws, path) == {}
        assert aws("ssm").get_parameter(Name=neighbour)
        assert not again.changed
    finally:
        aws("ssm").delete_parameter(Name=neighbour)
