# SPDX-License-Identifier: Apache-2.0
"""The build context of an image: which files it is made of, exported from Git, and the version they make."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

COMMIT_LENGTH = 12  # hexadecimal digits of a commit in a version
HASH_LENGTH = 8  # of the hash of what no commit says
# Set while Git runs a hook: they would point our calls at the hook's repository
HOOK_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}


class ContextError(Exception):
    """The context cannot be used as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """A context and its Dockerfile, as found on disk.

    Attributes:
        root: the top of the Git work tree, or of a folder without Git. The other paths are relative to it.
        context: the folder to build.
        dockerfile: the Dockerfile, inside or outside of the context.
        is_git: whether root is a Git work tree.
        paths: the context, the Dockerfile and its own ignore file if there is one.
        commit: the last commit that touched these paths; None without one.
        uncommitted: files in these paths that differ from that commit.
        is_cut: whether the history ends at commit, so that it may be younger than the last real change.
    """

    root: Path
    context: Path
    dockerfile: Path
    is_git: bool
    paths: tuple[Path, ...] = ()
    commit: str | None = None
    uncommitted: tuple[str, ...] = ()
    is_cut: bool = False


def find_source(context: Path, dockerfile: Path | None) -> Source:
    """Look at a context without changing anything.

    Args:
        context: the folder to build.
        dockerfile: the Dockerfile; None for the one in the context.

    Raises:
        ContextError: when there is no such folder or Dockerfile, or Git cannot read the repository.
    """
    if not context.is_dir():
        reason = "is not a folder" if context.exists() else "does not exist"
        raise ContextError(f"The context {context} {reason}. Give the folder to build in `context`.")
    dockerfile = dockerfile or context / "Dockerfile"
    if not dockerfile.is_file():
        raise ContextError(f"There is no Dockerfile at {dockerfile}. Give its path in `dockerfile`.")
    context = context.resolve()
    dockerfile = dockerfile.parent.resolve() / dockerfile.name
    ignore_file = dockerfile.with_name(f"{dockerfile.name}.dockerignore")

    top = work_tree(context)
    root = top or Path(os.path.commonpath([context, dockerfile.parent]))
    if not dockerfile.is_relative_to(root):
        raise ContextError(
            f"The Dockerfile {dockerfile} is outside of the Git repository {root}. Move it inside."
        )
    source = Source(
        root=root,
        context=context.relative_to(root),
        dockerfile=dockerfile.relative_to(root),
        is_git=top is not None,
    )
    beside = list_files(source, dockerfile.relative_to(root), ignore_file.relative_to(root))
    if str(source.dockerfile) not in beside:
        raise ContextError(
            f"The Dockerfile {dockerfile} is ignored by Git, so it cannot be built from a commit."
        )
    source = replace(source, paths=(source.context, *map(Path, beside)))
    if top is None:
        return replace(source, uncommitted=tuple(list_files(source, *source.paths)))
    commit = last_commit(source)
    return replace(
        source,
        commit=commit and commit[:COMMIT_LENGTH],
        uncommitted=tuple(uncommitted_files(source)),
        is_cut=commit in cut_commits(root),
    )


def make_version(source: Source, content_hash: str | None, inputs: str) -> str:
    """Name what will be built: the commit, and hashes of what the commit does not say.

    Args:
        source: the context.
        content_hash: hash of the exported files, when they are not those of the commit.
        inputs: other inputs of the build that were chosen, such as build arguments; empty for the defaults.
    """
    parts = [source.commit] if source.commit else []
    if content_hash:
        parts += ["dirty", content_hash[:HASH_LENGTH]]
    if inputs:
        parts.append(hashlib.sha256(inputs.encode()).hexdigest()[:HASH_LENGTH])
    return "-".join(parts)


def is_version(tag: str) -> bool:
    """Tell the tag that names what was built from one that moves."""
    return re.match(r"[0-9a-f]{12}(-|$)|dirty-", tag) is not None


def export_commit(source: Source, target: Path) -> None:
    """Write the committed files to a folder, with modes and symbolic links as Git has them.

    Raises:
        ContextError: when Git cannot export them.
    """
    entries = git(source.root, "ls-tree", "-r", "-z", "HEAD", "--", *source.paths).split("\0")[:-1]
    refuse_repositories([entry.split("\t", 1)[1] for entry in entries if entry.split()[1] == "commit"])
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        options = ("-c", "tar.umask=0022", "archive", "--format=tar", f"--output={archive.name}")
        git(source.root, *options, "HEAD", "--", *source.paths)
        with tarfile.open(archive.name) as files:
            files.extractall(target, filter="tar")


def export_work_tree(source: Source, target: Path) -> str:
    """Write the files as they are on disk to a folder, without those that Git ignores.

    Returns:
        A hash of their names, modes and contents.

    Raises:
        ContextError: when a file cannot be read.
    """
    names = list_files(source, *source.paths)
    refuse_repositories([name for name in names if is_folder(source.root / name)])
    content = hashlib.sha256()
    for name in names:
        try:
            copy_file(source.root / name, target / name)
        except OSError as error:
            raise ContextError(f"Cannot read {source.root / name}: {error.strerror}.") from error
        content.update(fingerprint(name, target / name))
    return content.hexdigest()


def work_tree(folder: Path) -> Path | None:
    """Find the top of the Git work tree that a folder is in."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    except ContextError as error:
        if "not a git repository" in str(error):
            return None
        raise


def last_commit(source: Source) -> str | None:
    """Find the last commit that touched the paths."""
    if not git(source.root, "rev-parse", "--revs-only", "HEAD"):
        return None  # a repository without a commit
    return (
        git(source.root, "log", "--max-count=1", "--format=%H", "HEAD", "--", *source.paths).strip() or None
    )


def cut_commits(root: Path) -> list[str]:
    """List the commits at which the history of a shallow clone ends."""
    shallow = root / git(root, "rev-parse", "--git-path", "shallow").rstrip("\n")
    return shallow.read_text().split() if shallow.is_file() else []


def uncommitted_files(source: Source) -> list[str]:
    """List files that are modified, deleted or new and not ignored."""
    options = ("--porcelain", "-z", "--no-renames", "--untracked-files=all")
    status = git(source.root, "status", *options, "--", *source.paths)
    return [entry[3:] for entry in status.split("\0")[:-1]]


def list_files(source: Source, *paths: Path) -> list[str]:
    """List the files and symbolic links on disk under the paths, without those that Git ignores."""
    if source.is_git:
        options = ("-z", "--cached", "--others", "--exclude-standard")
        listed = git(source.root, "ls-files", *options, "--", *paths).split("\0")[:-1]
        return sorted({name for name in listed if os.path.lexists(source.root / name)})
    found: list[Path] = []
    for path in (source.root / path for path in paths):
        found += path.rglob("*") if path.is_dir() else [path]
    return sorted(
        {str(file.relative_to(source.root)) for file in found if file.is_symlink() or file.is_file()}
    )


def copy_file(source: Path, target: Path) -> None:
    """Copy a file or symbolic link. As in Git, the only mode kept is whether it can be executed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)
    if not target.is_symlink():
        target.chmod(0o755 if target.stat().st_mode & 0o100 else 0o644)


def fingerprint(name: str, file: Path) -> bytes:
    """Hash the name, the mode and the content of a file or symbolic link."""
    if file.is_symlink():
        kind, content = "link", os.fsencode(file.readlink())
    else:
        kind, content = oct(file.stat().st_mode), file.read_bytes()
    return hashlib.sha256(f"{name}\0{kind}\0".encode(errors="surrogateescape") + content).digest()


def is_folder(path: Path) -> bool:
    """Tell a folder from a symbolic link to one."""
    return path.is_dir() and not path.is_symlink()


def refuse_repositories(names: list[str]) -> None:
    """Stop at a submodule or another repository: of these Git gives the name, not the files."""
    if names:
        raise ContextError(
            f"Git repositories inside of the context cannot be built: {', '.join(sorted(names))}."
        )


def git(folder: Path, *arguments: str | Path) -> str:
    """Run Git and return what it prints.

    Raises:
        ContextError: with Git's own words, when it fails or is not installed.
    """
    command = ["git", "--literal-pathspecs", "--no-optional-locks", "-C", folder, *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env=environment | {"LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise ContextError("Git is not installed. Install the package `git`.") from error
    except subprocess.CalledProcessError as error:
        raise ContextError(f"Git cannot read {folder}: {error.stderr.strip()}") from error
    return done.stdout
