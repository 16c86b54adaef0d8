"""source_folder, on folders of this machine."""

from pathlib import Path

from tests.modules.running import RunModule

FILES = {"__init__.py": "", "one.py": "ONE = 'é'\n", "two.py": "TWO = 2\n"}


def texts(folder: Path) -> dict[str, str]:
    """The files of a folder."""
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def test_a_folder_is_made_and_left_alone_when_it_is_right(run_module: RunModule, tmp_path: Path) -> None:
    folder = tmp_path / "lib/program"
    arguments = {"path": str(folder), "files": FILES}

    assert run_module("source_folder", arguments, check=True).result["written"] == sorted(FILES)
    assert not folder.exists()
    assert run_module("source_folder", arguments).changed
    assert texts(folder) == FILES
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
    assert not run_module("source_folder", arguments).changed


def test_what_is_no_more_goes_and_what_changed_is_shown(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "old.py").write_text("OLD = 1\n")
    (tmp_path / "two.py").write_text("TWO = 1\n")
    (tmp_path / "one.py").write_text(FILES["one.py"])

    run = run_module("source_folder", {"path": str(tmp_path), "files": FILES})

    assert (run.result["written"], run.result["removed"]) == (["__init__.py", "two.py"], ["old.py"])
    assert texts(tmp_path) == FILES
    assert (tmp_path / "__pycache__").is_dir()
    assert "-TWO = 1" in run.output
    assert "+TWO = 2" in run.output


def test_names_that_lead_elsewhere_are_refused(run_module: RunModule, tmp_path: Path) -> None:
    run = run_module("source_folder", {"path": str(tmp_path), "files": {"../x.py": "", "y.py": "1"}})

    assert run.failed
    assert "../x.py" in run.message
    assert not list(tmp_path.iterdir())
