"""Setting up and pushing, beside a bare docker push."""

import re
import time

from bench.stage import Row, Stage, output, timed


def measure(stage: Stage) -> list[Row]:
    """Set the stage up twice, then push cold, after a one-line change and with nothing new."""
    play = stage.checkout.passes
    return [
        ("site.yml, empty account", f"{timed(lambda: play('site.yml')):.1f} s", ""),
        ("site.yml, again", f"{timed(lambda: play('site.yml')):.1f} s", "changes nothing"),
        *pushes(stage),
    ]


def pushes(stage: Stage) -> list[Row]:
    """Push, each time beside a bare docker push of the same image to a repository beside it."""
    checkout, registry = stage.checkout, stage.registry
    registry.create("bare")
    rows: list[Row] = []
    first = 0.0

    def push(name: str) -> None:
        nonlocal first
        start = time.monotonic()
        out = checkout.passes("push.yml", "-v").output
        building, pushing = (re.search(rf"{part}: ([\d.]+)", out) for part in ("build", "push"))
        whole = time.monotonic() - start - float(building[1] if building else 0)
        alone = float(pushing[1]) if pushing else 0.0
        sent = re.search(r"bytes_pushed: (\d+)", out)
        megabytes = int(sent[1]) / 1e6 if sent else 0.0
        beside = registry.push(bare())
        first = first or beside
        rows.append((f"push, {name}: bare docker push", f"{beside:.2f} s", ""))
        rows.append(
            (f"push, {name}: ours", f"{alone:.2f} s", f"{alone / beside:.2f} ×, {megabytes:.2f} MB sent")
        )
        rows.append(
            (
                f"push, {name}: push.yml less the build",
                f"{whole:.2f} s",
                f"{whole / beside:.2f} ×, {whole / first:.2f} × the cold bare push",
            )
        )

    def bare() -> str:
        dockerfile = str(checkout.path / "Dockerfile")
        return registry.build("bare:latest", checkout.version, checkout.path / "app", "--file", dockerfile)

    push("cold")
    change_a_line(stage)
    push("one line of code changed")
    push("nothing new")
    size = output(["docker", "image", "inspect", "--format", "{{.Size}}", bare()])
    rows.append(("image of the app", f"{int(size) / 1e6:.0f} MB", "uncompressed"))
    return rows


def change_a_line(stage: Stage) -> None:
    """Commit one more line of the app's code."""
    module = stage.checkout.path / "app/src/matinee/__init__.py"
    module.write_text(module.read_text() + "\n# One more line\n")
    stage.checkout.commit("One more line")
