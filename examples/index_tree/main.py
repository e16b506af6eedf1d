"""Index a directory tree durably: kill it whenever you like, and the same command goes on.

    python examples/index_tree/main.py [DIRECTORY] [--out DIR] [--fresh]
    python examples/index_tree/main.py [DIRECTORY] [--out DIR] --search WORDS

It fingerprints every file, counts its words, and writes a full-text index and a report. What makes
it durable is this file, up to the line; `files.py` and `index.py` are what any such program has.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import sqlite3
import sys
import sysconfig
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from files import Listed, batches, read_file, walk
from index import (
    IndexProblem,
    Report,
    belongs,
    create,
    require_fts5,
    search,
    store,
    summarise,
)
from perdure import DistributedInvocation, InvocationState, Perdure, PerdureError, Retry, wf
from perdure.errors import ResultTimeout

app = Perdure()  # its records are in ./perdure.db, or where PERDURE_DATABASE_URL says

CHUNK_FILES = 1000
"""Files in one recorded piece of the listing: 100 KB of journal."""
BATCH_FILES, BATCH_BYTES = 16, 1024 * 1024
"""What one recorded task reads. A crash repeats at most one batch, some 30 ms of work; a task per
file would repeat less, and make sixteen times as many commits."""
PATIENCE = Retry(attempts=5, on=(sqlite3.OperationalError,))
"""Somebody may hold the index, or the disk be full for a moment."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is indexed, where to, and under which name. Arguments are recorded, so they are text."""

    name: str
    directory: str
    out: str

    @property
    def index(self) -> Path:
        """The database of the index."""
        return Path(self.out) / "index.db"

    @property
    def report(self) -> Path:
        """The report. If it is there, the index is complete."""
        return Path(self.out) / "report.json"


@app.task
def list_files(job: Job, after: str) -> list[Listed]:
    """The next files behind the path `after`; recorded, so that every run sees the same tree."""
    found = walk(Path(job.directory), Path(job.out), tuple(after.split("/")) if after else ())
    return list(islice(found, CHUNK_FILES))


@app.task(retry=PATIENCE)
def create_index(job: Job) -> None:
    """An empty index, and no report that says it is complete."""
    Path(job.out).mkdir(parents=True, exist_ok=True)
    job.report.unlink(missing_ok=True)
    create(job.name, job.index)


@app.task(retry=PATIENCE, raises=[IndexProblem])
def index_files(job: Job, first: int, batch: list[Listed]) -> None:
    """Read one batch and put it into the index.

    A crash between the two commits, of the index and of the record that this task is done, makes it
    run again, and it replaces its own rows by equal ones. A task runs at least once: write it so
    that twice is as good as once.
    """
    documents = [read_file(Path(job.directory), listed) for listed in batch]
    store(job.name, job.index, first, documents)


@app.task(retry=PATIENCE, raises=[IndexProblem])
def write_report(job: Job) -> Report:
    """Write the report in one step, so that it is there completely or not at all."""
    report = summarise(job.name, job.index, job.directory)
    draft = job.report.with_suffix(".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(report), file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(job.report)
    return report


@app.workflow
def index_tree(job: Job) -> Report:
    """The whole job. Run again after a crash, it gets what its tasks returned and does the rest."""
    files: list[Listed] = []
    more = True
    while more:
        chunk = list_files(job, files[-1].path if files else "")
        files += chunk
        wf.set_data("progress", [0, len(files)])
        more = len(chunk) == CHUNK_FILES
    create_index(job)
    for first, batch in batches(files, BATCH_FILES, BATCH_BYTES):
        index_files(job, first, batch)
        wf.set_data("progress", [first + len(batch), len(files)])
    return write_report(job)


# --- the line: from here on it is a command like any other ----------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    options = parse(arguments)
    try:
        if options.search is not None:
            return show_matches(options.out, options.search)
        with app:  # lets go of the workflow when it ends, also on Ctrl-C
            require_fts5()
            run(options.directory, options.out, fresh=options.fresh)
    except KeyboardInterrupt:
        again = shlex.join(word for word in sys.argv if word != "--fresh")
        tell(f"Interrupted; nothing that is done is lost. Go on with: python {again}")
        return 130
    except (PerdureError, IndexProblem, OSError, sqlite3.Error) as error:
        tell(f"error: {error}")
        return 1
    return 0


class Options(argparse.Namespace):
    """The command line."""

    directory: Path
    out: Path
    fresh: bool
    search: str | None


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; leaves with exit code 2 when it makes no sense."""
    parser = argparse.ArgumentParser(
        description="Index a directory tree durably.", allow_abbrev=False
    )
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path(sysconfig.get_path("stdlib")),
        help="what to index (default: the standard library of this Python)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("index_tree_out"),
        help="where index.db and report.json go (default: %(default)s)",
    )
    parser.add_argument("--fresh", action="store_true", help="start over and read every file again")
    parser.add_argument("--search", metavar="WORDS", help="search the finished index in --out")
    options = parser.parse_args(arguments, Options())
    options.directory, options.out = options.directory.resolve(), options.out.resolve()
    if not options.directory.is_dir():
        parser.error(f"{options.directory} is not a directory")
    if options.out == options.directory:
        parser.error("--out must not be the directory itself; a directory inside of it is fine")
    return options


def run(directory: Path, out: Path, *, fresh: bool) -> None:
    """Run the workflow to its end, or go on with it, and print the report."""
    job = Job(workflow_name(directory, out, fresh=fresh), str(directory), str(out))
    workflow = index_tree.options(id=job.name, on_existing="new_generation_if_failed")
    invocation = workflow.start(job)
    if invocation.status != InvocationState.COMPLETED:
        done, total = invocation.get_data("progress", (0, 0))
        if total:
            tell(f"Going on: {done:,} of {total:,} files are finished and not read again.")
        show_report(follow(invocation), job)
    elif belongs(job.index, job.name):
        tell("Finished before, so no file is read. To start over: --fresh")
        show_report(invocation.result(), job)
    else:
        tell(f"Finished before, but {job.index} is gone or replaced: starting over.")
        run(directory, out, fresh=True)


def workflow_name(directory: Path, out: Path, *, fresh: bool) -> str:
    """The id of the newest run of this command (same command, same workflow), or of a new one."""
    command = hashlib.sha256(os.fsencode(directory) + b"\0" + os.fsencode(out)).hexdigest()[:16]
    newest = app.workflows(id_prefix=f"index-tree-{command}-", limit=1)
    number = int(newest[0].invocation_id.rpartition("-")[2]) if newest else 0
    return f"index-tree-{command}-{number + 1 if fresh else max(number, 1)}"


def follow(invocation: DistributedInvocation[Report]) -> Report:
    """Run and await the workflow, and show what it publishes on its way."""
    report = None
    with display() as show:
        while report is None:
            with contextlib.suppress(ResultTimeout):
                report = invocation.result(timeout=0.1)
            show(*invocation.get_data("progress", (0, 0)))
    return report


@contextlib.contextmanager
def display() -> Generator[Callable[[int, int], None]]:
    """Give what shows progress on standard error: a bar on a terminal, a line per tenth if not."""
    console = Console(stderr=True)
    if not console.is_terminal:
        shown = {0}

        def line(done: int, total: int) -> None:
            tenth = 10 * done // max(total, 1)
            if tenth not in shown:
                shown.add(tenth)
                tell(f"{done:,} of {total:,} files")

        yield line
        return
    columns = (TextColumn("Indexing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Indexing", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total or None)


def show_report(report: Report, job: Job) -> None:
    """Print the report in short."""
    frequent = " ".join(word for word, _ in report.frequent_words)
    largest, size = report.largest_files[0] if report.largest_files else ("-", 0)
    print(f"{report.directory}: {report.files:,} files ({len(report.skipped):,} skipped)")
    print(f"{report.words:,} words in {report.bytes:,} bytes; the most frequent: {frequent}")
    print(f"Largest file: {on_one_line(largest)} ({size:,} bytes)")
    print(f"Fingerprint of the tree: {report.fingerprint}")
    print(f"Index and report: {job.out}")


def show_matches(out: Path, words: str) -> int:
    """Print the best matches of a finished index; 1 if there are none."""
    if not (out / "report.json").exists():
        raise IndexProblem(f"{out} has no finished index. Run this command without --search first.")
    matches = search(out / "index.db", words)
    for path, excerpt in matches:
        print(f"{on_one_line(path)}: {on_one_line(excerpt)}")
    return 0 if matches else 1


def on_one_line(text: str) -> str:
    """The text without line ends, and without what would command the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def tell(text: str) -> None:
    """Print a message, which is not output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
