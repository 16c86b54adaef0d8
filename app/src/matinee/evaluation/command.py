"""The command `matinee evaluate`: figures to stdout, talk to stderr."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from matinee.engine import Engine
from matinee.errors import MatineeError
from matinee.evaluation.comparison import compare
from matinee.evaluation.cost import estimate
from matinee.evaluation.judge import PATIENT, Judge, judge_chain
from matinee.evaluation.library import SHARED, add_corpus, temporary_library
from matinee.evaluation.report import comparison_report, list_report, run_report, spent
from matinee.evaluation.run import Evaluation, sample_evaluation
from matinee.evaluation.sets import JudgedSet, SetError, read_set
from matinee.llm import Chain
from matinee.settings import Settings, load_settings
from matinee.stores.evaluations import Evaluations, Result, Run
from matinee.stores.truth import Truth
from matinee.workspace import Workspace

DONE, FAILED, WRONG_USE = 0, 1, 2


class UseError(MatineeError):
    """The command was not given what it needs."""


def main(argv: list[str]) -> int:
    """Do what the arguments ask for; returns the exit status: 0 done, 1 failed or stopped, 2 wrong use."""
    logging.getLogger().setLevel(logging.WARNING)
    try:
        arguments = _parser().parse_args(argv)
        return _do(arguments, load_settings())
    except SystemExit as error:  # argparse has said why
        return WRONG_USE if error.code else DONE
    except (SetError, UseError) as error:
        print(f"matinee evaluate: {error}", file=sys.stderr)
        return WRONG_USE
    except MatineeError as error:
        print(f"matinee evaluate: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nmatinee evaluate: stopped; nothing was measured.", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="matinee evaluate",
        description="Measure how well the questions of a judged set are found and answered.",
        epilog="A set is a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv), or a file with a JSON "
        'object a line: {"question": …, "file": the document that holds it, "answer": …, "quote": its words} '
        'or {"question": …, "unanswerable": true}.',
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("set", nargs="?", type=Path, metavar="SET", help="the judged set")
    what.add_argument("--sample", action="store_true", help="the questions about the sample document")
    what.add_argument("--list", action="store_true", help="list the runs that were kept")
    what.add_argument("--compare", nargs=2, type=int, metavar="RUN", help="compare two runs")
    parser.add_argument(
        "--documents",
        metavar="FOLDER",
        help="judge against these documents instead of those in MATINEE_DATA; also s3://bucket/prefix",
    )
    parser.add_argument("--judge", action="store_true", help="have a language model judge the answers, too")
    parser.add_argument("--yes", action="store_true", help="do not ask before language models are paid for")
    parser.add_argument("--json", action="store_true", help="print JSON, with every question")
    return parser


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.list:
        with _kept(settings) as runs:
            _print_list(runs.list(), arguments.json)
        return DONE
    if arguments.compare:
        with _kept(settings) as runs:
            before, after = arguments.compare
            _print_comparison(runs, before, after, arguments.json)
        return DONE
    return _evaluate(arguments, settings)


def _evaluate(arguments: argparse.Namespace, settings: Settings) -> int:
    judged = None if arguments.sample else read_set(arguments.set)
    if arguments.documents and (judged is None or judged.corpus):
        raise UseError("this set brings its own documents; leave --documents away.")
    if arguments.judge:
        judge_chain(settings)  # before the work, not after it
    with ExitStack() as stack:
        if judged is None:
            workspace = stack.enter_context(temporary_library(settings))
            evaluation = sample_evaluation(workspace, _show)
        else:
            workspace = stack.enter_context(_library(arguments.documents, settings, judged))
            evaluation = Evaluation(workspace, add_corpus(workspace, judged, _show))
        stopped = not _measure(evaluation, arguments, workspace.engine)
        run, results = evaluation.outcome()
        if not results:
            raise KeyboardInterrupt
        with _kept(settings) as runs:
            number = runs.add(run, results)
            earlier = next((kept.id for kept in runs.list()[1:] if kept.set_sha256 == run.set_sha256), None)
    if arguments.json:
        _print_json({"id": number, **_plain(Run, run), "results": _plain(tuple[Result, ...], tuple(results))})
    else:
        print(run_report(run))
    print(f"\nKept as run {number}{', stopped before its end' if stopped else ''}.", file=sys.stderr)
    if earlier:
        print(f"What changed: matinee evaluate --compare {earlier} {number}", file=sys.stderr)
    return FAILED if stopped else DONE


@contextmanager
def _library(documents: str | None, settings: Settings, judged: JudgedSet) -> Iterator[Workspace]:
    """Open what a set is judged against."""
    if judged.corpus or documents:
        with temporary_library(settings, documents) as workspace:
            yield workspace
        return
    engine = Engine(settings)
    try:
        engine.wait_for_source()
        workspace = engine.workspace(SHARED)
        if not workspace.documents():
            raise UseError(
                f"there are no documents in {settings.data}. Name a folder of them with --documents, or try "
                "--sample."
            )
        yield workspace
    finally:
        engine.close()


def _measure(evaluation: Evaluation, arguments: argparse.Namespace, engine: Engine) -> bool:
    """Search, ask and judge; returns whether it came to its end."""
    try:
        if arguments.judge:
            evaluation.retrieve(_show)
            _accept(evaluation, engine.settings, arguments.yes)
            engine.chain = engine.answerer.chain = Chain.from_settings(engine.settings, PATIENT)
            evaluation.answer(Judge(engine.settings, evaluation.bill.add), _show)
        else:
            evaluation.measure(_show)
    except KeyboardInterrupt:
        return False
    return True


def _accept(evaluation: Evaluation, settings: Settings, accepted: bool) -> None:
    """Say what it will cost, and ask unless it is accepted already."""
    expected = estimate(evaluation, settings)
    print(
        f"{len(evaluation.judged.questions)} questions, answered by {expected.answering} and judged by "
        f"{expected.judging}: at most about {spent(expected.spent)}. A model that thinks first writes more.",
        file=sys.stderr,
    )
    if expected.spent.price_usd is None:
        print("MATINEE_PRICES makes a price known, see .env.example.", file=sys.stderr)
    if accepted:
        return
    if not sys.stdin.isatty():
        raise UseError("say --yes to accept this where nobody can be asked.")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        reply = input()
    except (EOFError, KeyboardInterrupt):
        reply = ""
    if reply.strip().lower() not in ("y", "yes"):
        raise MatineeError("stopped before any model was asked.")


@contextmanager
def _kept(settings: Settings) -> Iterator[Evaluations]:
    """Open the runs kept in the data folder, without a search over it."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MatineeError(f"The data folder {settings.data} cannot be made ({error.strerror}).") from None
    truth = Truth(settings.data / "matinee.db", embedder="", dimensions=0)  # no vectors are asked for
    try:
        yield Evaluations(truth)
    finally:
        truth.close()


def _print_list(runs: list[Run], as_json: bool) -> None:
    if as_json:
        _print_json(_plain(list[Run], runs))
    elif runs:
        print(list_report(runs))
    else:
        print("No runs yet. Try: matinee evaluate --sample", file=sys.stderr)


def _print_comparison(runs: Evaluations, before: int, after: int, as_json: bool) -> None:
    found = {run.id: run for run in runs.list()}
    for number in (before, after):
        if number not in found:
            raise UseError(f"there is no run {number}; --list shows those there are.")
    comparison = compare(found[before], runs.results(before), found[after], runs.results(after))
    if as_json:
        rows = [
            {**asdict(row), "difference": row.difference, "better": row.better, "worse": row.worse}
            for row in comparison.rows
        ]
        _print_json({"before": before, "after": after, "differences": comparison.differences, "rows": rows})
    else:
        print(comparison_report(comparison))


def _show(stage: str, share: float) -> None:
    """Show progress on a terminal, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{stage}", end="\n" if share == 1.0 else "", file=sys.stderr, flush=True)


def _plain[Value](kind: type[Value], thing: Value) -> Any:  # noqa: ANN401 (what json can write)
    return TypeAdapter(kind).dump_python(thing, mode="json")


def _print_json(thing: object) -> None:
    print(json.dumps(thing, indent=2, ensure_ascii=False))
