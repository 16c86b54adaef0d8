"""ecr_image, with the real engine and real pushes."""

import base64
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.modules.project import Project
from tests.modules.running import Client, Outcome, RunModule

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture(scope="module")
def repository(aws: Client) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    aws("ecr").create_repository(repositoryName=name)
    yield name
    aws("ecr").delete_repository(repositoryName=name, force=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("source") / "project").fill()
    # Layers that no other test and no other run has pushed
    project.write("app/base", uuid.uuid4().hex * 10_000)
    project.commit()
    return project


def options(project: Project, repository: str, **more: Any) -> dict[str, Any]:
    return {
        "repository": repository,
        "context": str(project.context),
        "dockerfile": str(project.dockerfile),
    } | more


def tags(aws: Client, repository: str) -> dict[str, str]:
    images = aws("ecr").describe_images(repositoryName=repository)["imageDetails"]
    return {tag: image["imageDigest"] for image in images for tag in image.get("imageTags", [])}


def layer_sizes(aws: Client, repository: str, digest: str) -> list[int]:
    answer = aws("ecr").batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    return [layer["size"] for layer in json.loads(answer["images"][0]["imageManifest"])["layers"]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "new folder" / "push.log"


@pytest.fixture(scope="module")
def docker_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docker-config")


@pytest.fixture(scope="module")
def predicted(run_module: RunModule, aws: Client, project: Project, repository: str, log: Path) -> Outcome:
    outcome = run_module("ecr_image", options(project, repository, log_path=str(log)), check=True)
    assert tags(aws, repository) == {}, "check mode has pushed"
    assert not log.exists()
    return outcome


@pytest.fixture(scope="module")
def pushed(
    run_module: RunModule,
    project: Project,
    repository: str,
    log: Path,
    docker_config: Path,
    predicted: Outcome,
) -> Outcome:
    return run_module(
        "ecr_image",
        options(project, repository, log_path=str(log)),
        environment={"DOCKER_CONFIG": str(docker_config)},
    )


@pytest.fixture(scope="module")
def contents(aws: Client, pushed: Outcome) -> tuple[dict[str, Any], dict[str, tarfile.TarInfo]]:
    """What the registry gives to whom pulls the image: its configuration and its files."""
    answer = aws("ecr").get_authorization_token()["authorizationData"][0]
    password = base64.b64decode(answer["authorizationToken"]).decode().split(":", 1)[1]
    engine = docker.from_env()
    name = pushed.result["image"].rsplit(":", 1)[0]
    image = engine.images.pull(
        f"{name}@{pushed.result['digest']}", auth_config={"username": "AWS", "password": password}
    )
    container = engine.containers.create(image, command="none")
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as files:
            return image.attrs["Config"], {member.name: member for member in files.getmembers()}
    finally:
        container.remove()
        engine.images.remove(image.id, force=True)


def test_check_mode_predicts_what_is_done(project: Project, predicted: Outcome, pushed: Outcome) -> None:
    commit = project.git("rev-parse", "HEAD")
    assert predicted.changed
    assert predicted.result["version"] == pushed.result["version"] == commit[:12]
    assert predicted.result["image"] == pushed.result["image"]
    assert predicted.message.startswith("Would build")


def test_push_makes_the_version_latest(aws: Client, repository: str, pushed: Outcome) -> None:
    digest = pushed.result["digest"]
    assert pushed.changed
    assert tags(aws, repository) == {pushed.result["version"]: digest, "latest": digest}


def test_bytes_pushed_are_the_compressed_layers(aws: Client, repository: str, pushed: Outcome) -> None:
    sizes = layer_sizes(aws, repository, pushed.result["digest"])
    assert len(sizes) == 2
    assert pushed.result["bytes_pushed"] == sum(sizes)


def test_image_holds_what_is_committed_and_not_ignored(
    contents: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    files = contents[1]
    in_app = {name for name, member in files.items() if name.startswith("app/") and not member.isdir()}
    assert in_app == {"app/base", "app/folder/Grüße, 東京.txt", "app/link", "app/run.sh"}
    assert files["app/link"].linkname == "folder/Grüße, 東京.txt"
    assert files["app/run.sh"].mode & 0o777 == 0o755
    assert files["app/base"].mode & 0o777 == 0o644


def test_image_knows_its_version(contents: tuple[dict[str, Any], dict[str, Any]], pushed: Outcome) -> None:
    labels = contents[0]["Labels"]
    assert labels["version"] == labels["org.opencontainers.image.revision"] == pushed.result["version"]


def test_log_tells_of_build_and_push_to_its_owner_only(log: Path, pushed: Outcome) -> None:
    text = log.read_text()
    assert "COPY . /app" in text
    assert ": Pushed" in text
    assert text.rstrip().endswith(pushed.message)
    assert log.stat().st_mode & 0o777 == 0o600


def test_registry_password_is_stored_and_printed_nowhere(
    aws: Client, docker_config: Path, log: Path, pushed: Outcome
) -> None:
    token = aws("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert token not in pushed.output + log.read_text()
    assert not any("auths" in file.read_text() for file in docker_config.rglob("config.json"))


def test_image_is_removed_from_the_engine(pushed: Outcome) -> None:
    with pytest.raises(docker.errors.ImageNotFound):
        docker.from_env().images.get(pushed.result["image"])


def test_same_commit_again_needs_no_engine(
    run_module: RunModule, project: Project, repository: str, pushed: Outcome
) -> None:
    again = run_module("ecr_image", options(project, repository), environment=NO_ENGINE)
    assert not again.changed
    assert again.result["bytes_pushed"] == 0
    assert again.result["digest"] == pushed.result["digest"]


@pytest.fixture(scope="module")
def second(run_module: RunModule, project: Project, repository: str, pushed: Outcome) -> Outcome:
    project.write("app/small.txt", "a small change")
    project.commit()
    return run_module("ecr_image", options(project, repository))


def test_small_change_sends_its_layer_only(
    aws: Client, repository: str, pushed: Outcome, second: Outcome
) -> None:
    assert second.result["bytes_pushed"] == layer_sizes(aws, repository, second.result["digest"])[1]
    assert tags(aws, repository)["latest"] == second.result["digest"]


def test_diff_shows_the_old_and_the_new_version(pushed: Outcome, second: Outcome) -> None:
    diff = second.result["diff"]
    for side, outcome in (("before", pushed), ("after", second)):
        assert diff[side]["latest"] == {name: outcome.result[name] for name in ("version", "digest")}


def test_latest_that_somebody_moved_is_moved_back_without_a_build(
    run_module: RunModule, aws: Client, project: Project, repository: str, pushed: Outcome, second: Outcome
) -> None:
    manifest = aws("ecr").batch_get_image(
        repositoryName=repository, imageIds=[{"imageDigest": pushed.result["digest"]}]
    )["images"][0]["imageManifest"]
    aws("ecr").put_image(repositoryName=repository, imageTag="latest", imageManifest=manifest)
    assert tags(aws, repository)["latest"] == pushed.result["digest"]

    predicted = run_module("ecr_image", options(project, repository), check=True, environment=NO_ENGINE)
    moved = run_module("ecr_image", options(project, repository), environment=NO_ENGINE)

    assert predicted.message.startswith("Would move latest")
    assert moved.changed
    assert moved.result["bytes_pushed"] == 0
    assert tags(aws, repository)["latest"] == second.result["digest"]


@pytest.fixture
def dirty(project: Project) -> Iterator[Project]:
    project.write("app/new.txt", "not committed")
    yield project
    (project.context / "new.txt").unlink()


def test_uncommitted_files_are_refused_by_name(
    run_module: RunModule, dirty: Project, repository: str
) -> None:
    outcome = run_module("ecr_image", options(dirty, repository))
    assert outcome.failed
    assert "app/new.txt" in outcome.message
    assert "allow_dirty" in outcome.message


def test_uncommitted_files_are_built_when_allowed(
    run_module: RunModule, aws: Client, dirty: Project, repository: str, second: Outcome
) -> None:
    outcome = run_module("ecr_image", options(dirty, repository, allow_dirty=True, build_args={"EXTRA": "x"}))
    assert outcome.result["version"].startswith(f"{second.result['version']}-dirty-")
    assert tags(aws, repository)["latest"] == outcome.result["digest"] != second.result["digest"]


def test_failed_build_shows_its_end_and_pushes_nothing(
    run_module: RunModule, aws: Client, tmp_path: Path, repository: str
) -> None:
    project = Project(tmp_path / "broken").fill()
    project.write("Dockerfile", "FROM scratch\nCOPY no-such-file /\n")
    project.commit()
    log = tmp_path / "build.log"
    before = tags(aws, repository)
    outcome = run_module("ecr_image", options(project, repository, log_path=str(log)))
    assert outcome.failed
    assert "no-such-file" in outcome.message
    assert str(log) in outcome.message
    assert log.exists()
    assert tags(aws, repository) == before


def test_engine_that_does_not_run_says_how_to_start_it(
    run_module: RunModule, tmp_path: Path, repository: str
) -> None:
    project = Project(tmp_path / "project").fill()
    project.commit()
    outcome = run_module("ecr_image", options(project, repository), environment=NO_ENGINE)
    assert outcome.failed
    assert "sudo systemctl start docker" in outcome.message


def test_missing_repository_says_how_to_make_it(run_module: RunModule, project: Project) -> None:
    outcome = run_module("ecr_image", options(project, "no-such-repository"))
    assert outcome.failed
    assert "ansible-playbook site.yml" in outcome.message


def test_wrong_region_is_named(run_module: RunModule, project: Project, repository: str) -> None:
    outcome = run_module("ecr_image", options(project, repository, region="eu-west-1"))
    assert outcome.failed
    assert "eu-west-1" in outcome.message


def test_credentials_nobody_has_are_refused_in_plain_words(
    run_module: RunModule, project: Project, repository: str, as_key: Any
) -> None:
    nobody = as_key("AKIAIOSFODNN7EXAMPLE", "no-such-key")
    outcome = run_module("ecr_image", options(project, repository), environment=nobody)
    assert outcome.failed
    assert "did not accept the credentials" in outcome.message


def test_right_missing_for_the_push_is_named(
    run_module: RunModule, aws: Client, tmp_path: Path, repository: str, as_user: Any
) -> None:
    project = Project(tmp_path / "project").fill()
    project.write("app/base", uuid.uuid4().hex)
    project.commit()
    may_look = ["ecr:GetAuthorizationToken", "ecr:DescribeImages", "ecr:BatchCheckLayerAvailability"]
    who = as_user([{"Effect": "Allow", "Action": may_look, "Resource": "*"}])
    outcome = run_module("ecr_image", options(project, repository), environment=who)
    assert outcome.failed
    assert "lack the right ecr:InitiateLayerUpload" in outcome.message
    with pytest.raises(docker.errors.ImageNotFound):
        docker.from_env().images.get(f"{repository}:{project.git('rev-parse', 'HEAD')[:12]}")


def test_documented_rights_are_enough(
    run_module: RunModule, aws: Client, tmp_path: Path, repository: str, as_user: Any
) -> None:
    project = Project(tmp_path / "project").fill()
    project.write("app/base", uuid.uuid4().hex)
    project.commit()
    arn = aws("ecr").describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryArn"]
    actions = [
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "CompleteLayerUpload",
        "DescribeImages",
        "InitiateLayerUpload",
        "PutImage",
        "UploadLayerPart",
    ]
    who = as_user(
        [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": [f"ecr:{action}" for action in actions], "Resource": arn},
        ]
    )
    outcome = run_module("ecr_image", options(project, repository), environment=who)
    assert outcome.changed
    assert tags(aws, repository)["latest"] == outcome.result["digest"]
