# SPDX-License-Identifier: Apache-2.0
"""What an examination finds: a line for each thing that was looked at, and what to do."""

from __future__ import annotations


class Checks(list[dict[str, str]]):
    """The lines, in the order in which things were looked at."""

    def ok(self, name: str, says: str) -> None:
        """Say that something is fine."""
        self._add(name, "ok", says)

    def warn(self, name: str, says: str, remedy: str) -> None:
        """Say what may become a problem, or be wanted."""
        self._add(name, "warn", f"{says} -> {remedy}")

    def fail(self, name: str, says: str, remedy: str) -> None:
        """Say what is wrong."""
        self._add(name, "FAIL", f"{says} -> {remedy}")

    def skip(self, name: str, why: str) -> None:
        """Say what was not looked at."""
        self._add(name, "-", f"not looked at: {why}")

    def _add(self, name: str, result: str, says: str) -> None:
        self.append({"name": name, "result": result, "says": " ".join(says.split())})
