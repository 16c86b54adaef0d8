"""A small project in a Git repository, to build images from."""

import os
import subprocess
from pathlib import Path

DOCKERFILE = """\
FROM scratch
ARG VERSION
LABEL version=$VERSION
COPY base /base
COPY . /app
"""


class Project:
    """A repository whose context is app/ and whose Dockerfile lies beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.context = root / "app"
        self.dockerfile = root / "Dockerfile"
        self.context.mkdir(parents=True)
        self.git("init", "--quiet")

    def fill(self) -> "Project":
        """Write the files, with all that has to survive, or must not get, into an image."""
        self.write("Dockerfile", DOCKERFILE)
        self.write(".gitignore", ".env\n")
        self.write("other/notes.txt", "not in the context")
        self.write("app/.env", "NEVER=in-an-image")
        self.write("app/.dockerignore", "tests\n.dockerignore\n")
        self.write("app/tests/test.txt", "ignored by Docker")
        self.write("app/base", "b" * 200_000)
        self.write("app/folder/Grüße, 東京.txt", "hello")
        self.write("app/run.sh", "#!/bin/sh\n")
        (self.context / "run.sh").chmod(0o700)
        (self.context / "link").symlink_to("folder/Grüße, 東京.txt")
        return self

    def write(self, path: str, text: str) -> None:
        """Write a file, with its folders."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self, message: str = "Change") -> str:
        """Commit everything that is not ignored; return the commit."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git as a person of no consequence, with no settings of this machine."""
        person = {
            f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | person | settings
        ).stdout.strip()
