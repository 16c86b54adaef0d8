"""What build_context takes from a Git repository, with real repositories."""

import os
from pathlib import Path

import pytest
from ansible.module_utils.build_context import (
    ContextError,
    Source,
    export_commit,
    export_work_tree,
    find_source,
    make_version,
)

from tests.modules.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project").fill()


def look(project: Project) -> Source:
    return find_source(project.context, project.dockerfile)


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    }


def test_version_is_the_last_commit_that_touched_context_or_dockerfile(project: Project) -> None:
    first = project.commit()
    project.write("other/notes.txt", "changed")
    project.commit()
    assert look(project).commit == first[:12]

    project.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    second = project.commit()
    assert look(project).commit == second[:12]


def test_export_holds_committed_files_only(project: Project, tmp_path: Path) -> None:
    project.commit()
    export_commit(look(project), tmp_path / "export")
    assert files(tmp_path / "export") == {
        "Dockerfile",
        "app/.dockerignore",
        "app/base",
        "app/folder/Grüße, 東京.txt",
        "app/link",
        "app/run.sh",
        "app/tests/test.txt",
    }


@pytest.mark.parametrize("from_commit", [True, False], ids=["commit", "work tree"])
def test_export_keeps_links_and_whether_a_file_can_be_run(
    project: Project, tmp_path: Path, from_commit: bool
) -> None:
    project.commit()
    export = export_commit if from_commit else export_work_tree
    export(look(project), tmp_path)
    assert (tmp_path / "app/link").readlink() == Path("folder/Grüße, 東京.txt")
    assert (tmp_path / "app/run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "app/base").stat().st_mode & 0o777 == 0o644


def test_uncommitted_files_are_those_modified_deleted_staged_or_new(project: Project) -> None:
    project.commit()
    assert look(project).uncommitted == ()

    project.write("app/base", "modified")
    (project.context / "run.sh").unlink()
    project.write("app/new file.txt", "new")
    project.write("app/staged.txt", "new")
    project.git("add", "app/staged.txt")
    project.write("other/notes.txt", "not in the context")
    assert set(look(project).uncommitted) == {"app/base", "app/run.sh", "app/new file.txt", "app/staged.txt"}


def test_work_tree_is_taken_without_ignored_and_deleted_files(project: Project, tmp_path: Path) -> None:
    project.commit()
    project.write("app/new.txt", "new")
    (project.context / "run.sh").unlink()
    export_work_tree(look(project), tmp_path)
    assert "app/new.txt" in files(tmp_path)
    assert not files(tmp_path) & {"app/.env", "app/run.sh", "other/notes.txt"}


def test_version_of_a_work_tree_tells_its_content(project: Project, tmp_path: Path) -> None:
    commit = project.commit()
    versions = []
    for number, text in enumerate(("one", "two", "one")):
        project.write("app/new.txt", text)
        source = look(project)
        versions.append(make_version(source, export_work_tree(source, tmp_path / str(number)), ""))
    assert versions[0] == versions[2] != versions[1]
    assert versions[0].startswith(f"{commit[:12]}-dirty-")


def test_other_inputs_make_another_version(project: Project) -> None:
    project.commit()
    source = look(project)
    assert make_version(source, None, "") == source.commit
    assert make_version(source, None, "a") != make_version(source, None, "b")


def test_context_can_be_the_whole_repository_or_hold_its_dockerfile(project: Project, tmp_path: Path) -> None:
    project.commit()
    whole = find_source(project.root, None)
    export_commit(whole, tmp_path)
    assert {"Dockerfile", "other/notes.txt", "app/base"} <= files(tmp_path)

    project.write("app/Dockerfile", "FROM scratch\n")
    project.commit()
    assert find_source(project.context, None).dockerfile == Path("app/Dockerfile")


def test_worktree_gives_the_same_version(project: Project, tmp_path: Path) -> None:
    commit = project.commit()
    project.git("worktree", "add", "--quiet", str(tmp_path / "second"))
    source = find_source(tmp_path / "second/app", tmp_path / "second/Dockerfile")
    assert (source.commit, source.uncommitted) == (commit[:12], ())
    export_commit(source, tmp_path / "export")
    assert "app/run.sh" in files(tmp_path / "export")


def test_repository_without_a_commit_has_only_uncommitted_files(project: Project) -> None:
    source = look(project)
    assert source.commit is None
    assert {"Dockerfile", "app/base", "app/run.sh"} <= set(source.uncommitted)


def test_folder_without_git_has_only_uncommitted_files(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    os.mkfifo(tmp_path / "pipe")
    source = find_source(tmp_path, None)
    assert (source.is_git, source.commit, source.uncommitted) == (False, None, ("Dockerfile",))
    assert make_version(source, export_work_tree(source, tmp_path / "export"), "").startswith("dirty-")


def test_shallow_clone_is_known_to_be_cut(project: Project, tmp_path: Path) -> None:
    project.commit()
    project.write("other/notes.txt", "changed")
    project.commit()
    project.git("clone", "--quiet", "--depth=1", f"file://{project.root}", str(tmp_path / "shallow"))
    assert find_source(tmp_path / "shallow/app", tmp_path / "shallow/Dockerfile").is_cut
    assert not look(project).is_cut


def test_ignore_file_beside_a_dockerfile_is_part_of_the_source(project: Project, tmp_path: Path) -> None:
    project.write("Dockerfile.dockerignore", "tests\n")
    commit = project.commit()
    source = look(project)
    assert source.commit == commit[:12]
    export_commit(source, tmp_path)
    assert "Dockerfile.dockerignore" in files(tmp_path)


def test_submodule_is_refused_by_name(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other").fill()
    other.commit()
    project.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.root), "app/part"
    )
    project.commit()
    with pytest.raises(ContextError, match="app/part"):
        export_commit(look(project), tmp_path / "export")


@pytest.mark.parametrize(
    ("context", "dockerfile", "reason"),
    [
        ("nowhere", None, "nowhere does not exist"),
        ("Dockerfile", None, "Dockerfile is not a folder"),
        ("other", None, "no Dockerfile at .*other/Dockerfile"),
        ("app", "../outside", "outside of the Git repository"),
        ("app", "app/.env", "ignored by Git"),
    ],
)
def test_what_cannot_be_built_is_refused(
    project: Project, context: str, dockerfile: str | None, reason: str
) -> None:
    (project.root.parent / "outside").write_text("FROM scratch\n")
    with pytest.raises(ContextError, match=reason):
        find_source(project.root / context, project.root / dockerfile if dockerfile else None)
