"""The example `index_tree`: killed at every kind of moment, its output is that of a quiet run."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import TIMEOUT_SECONDS, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "index_tree"
CHILD = Path(__file__).with_name("child.py")
BATCH = 4  # as in child.py

KILLED = -signal.SIGKILL


def plant(root):
    """25 files: 7 batches and 4 pieces of listing; strange ones, and what is to be left out."""
    for folder in ("a", "a/deep", "b", "__pycache__", "site-packages"):
        (root / folder).mkdir(parents=True)
        for number in range(7):
            words = f"word{number} common {folder.replace('/', ' ')}\n"
            (root / folder / f"{number}.txt").write_text(words * (number + 1))
    (root / "a.first").write_text("sorted by parts, not by text")
    (root / "binary").write_bytes(b"\0common")
    (root / "empty").touch()
    (root / "latin").write_bytes("café".encode("latin-1"))
    (root / "link").symlink_to("a")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree that no test changes."""
    return plant(tmp_path_factory.mktemp("shared") / "tree")


class Folder:
    """A place to run the command from, with its own records and output."""

    def __init__(self, path: Path, tree: Path) -> None:
        path.mkdir()
        self.path, self.tree = path, tree

    def run(self, *arguments, moment="never", count=1, code=0):
        """Run it as a process; gives the paths that it read, and the process."""
        log = self.path / "log"
        log.write_text("")
        done = subprocess.run(
            [sys.executable, CHILD, EXAMPLE, log, moment, str(count), self.tree, *arguments],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return log.read_text().splitlines(), done

    @property
    def out(self):
        return self.path / "index_tree_out"

    def output(self):
        """The report's bytes, and all rows of the index."""
        connection = sqlite3.connect(self.out / "index.db")
        try:
            rows = [
                connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("files", "(SELECT rowid, text FROM pages)", "vocabulary")
            ]
            connection.execute("INSERT INTO pages (pages) VALUES ('integrity-check')")
        finally:
            connection.close()
        return (self.out / "report.json").read_bytes(), rows


@pytest.fixture
def folder(tmp_path, tree):
    return Folder(tmp_path / "here", tree)


@pytest.fixture
def own(tmp_path):
    """A folder with a tree that the test may change."""
    return Folder(tmp_path / "here", plant(tmp_path / "tree"))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, tree):
    """What a run without interruption reads, and its output."""
    folder = Folder(tmp_path_factory.mktemp("quiet") / "here", tree)
    order, _ = folder.run()
    return order, folder.output()


def test_a_run_indexes_every_file_once_in_order(quiet, tree):
    order, (report, _) = quiet
    assert len(order) == len(set(order)) == 25
    assert order == sorted(order, key=lambda path: path.split("/"))
    told = json.loads(report)
    assert told["files"] == 25
    assert told["skipped"] == []
    assert told["frequent_words"][:2] == [["common", 84], ["a", 56]]
    assert told["bytes"] == sum((tree / path).stat().st_size for path in order)
    sums = subprocess.run(["sha256sum", *order], cwd=tree, capture_output=True, check=True)
    whole = subprocess.run(["sha256sum"], input=sums.stdout, capture_output=True, check=True)
    assert told["fingerprint"] == whole.stdout.decode().split()[0]


@pytest.mark.parametrize(
    ("moment", "count", "finished"),
    [
        ("listing", 1, 0),
        ("listing", 3, 0),
        ("listed", 10, 0),
        ("before commit", 1, 0),  # the tables
        ("after commit", 1, 0),
        ("read", 1, 0),
        ("read", 6, 1),  # in the middle of the second batch
        ("before commit", 4, 2),  # all of the third batch is read, nothing of it stored
        ("after commit", 4, 2),  # it is in the index, and not recorded as done
        ("read", 25, 6),
        ("before commit", 9, 7),  # the transaction that reads the report
        ("before report", 1, 7),
        ("after report", 1, 7),
    ],
)
def test_after_a_kill_it_goes_on(moment, count, finished, quiet, folder):
    order, output = quiet
    first, _ = folder.run(moment=moment, count=count, code=KILLED)
    again, done = folder.run()
    assert first == order[: len(first)]
    assert again == order[finished * BATCH :], "it read a finished file, or left one out"
    assert ("Going on" in done.stderr) == (moment not in ("listing", "listed") or count > 1)
    assert folder.output() == output


def test_killed_in_every_batch_it_gets_to_its_end(quiet, folder):
    order, output = quiet
    read = []
    for _ in range(6):
        paths, _ = folder.run(moment="read", count=BATCH + 1, code=KILLED)
        read += paths[:-1]
    paths, _ = folder.run()
    assert read + paths == order
    assert folder.output() == output


def test_ctrl_c_says_how_to_go_on_and_the_command_does(quiet, folder):
    order, output = quiet
    first, done = folder.run("--fresh", moment="interrupted", count=6, code=130)
    assert first == order[: 2 * BATCH]  # the batch under way is brought to its end
    message = done.stderr.splitlines()[-1]
    assert message == (
        f"Interrupted; nothing that is done is lost. Go on with: python {EXAMPLE}/main.py "
        f"{folder.tree}"
    )
    again, done = folder.run()
    assert done.stderr.startswith("Going on: 8 of 25 files are finished")
    assert again == order[2 * BATCH :]
    assert folder.output() == output


def test_a_finished_run_reads_nothing_and_fresh_reads_all(own):
    order, first = own.run()
    output = own.output()
    (own.tree / "a" / "0.txt").write_text("changed words")
    paths, done = own.run()
    assert (paths, done.stdout) == ([], first.stdout)
    assert done.stderr.startswith("Finished before")
    assert own.output() == output
    assert own.run("--fresh")[0] == order
    assert own.output() != output


def test_a_finished_run_whose_index_is_gone_starts_over(quiet, folder):
    order, output = quiet
    folder.run()
    (folder.out / "index.db").unlink()
    paths, done = folder.run()
    assert (paths, folder.output()) == (order, output)
    assert "starting over" in done.stderr


def test_an_index_that_vanishes_meanwhile_is_an_error_and_then_made_anew(quiet, folder):
    order, output = quiet
    folder.run(moment="read", count=6, code=KILLED)
    (folder.out / "index.db").unlink()
    _, done = folder.run(code=1)
    assert "error: " in done.stderr
    assert "Run the command again, and it starts over." in done.stderr
    assert folder.run()[0] == order
    assert folder.output() == output


def test_another_tree_in_the_same_output_does_not_mix_with_it(quiet, folder, tmp_path):
    _, output = quiet
    folder.run(moment="read", count=6, code=KILLED)
    other = tmp_path / "other"
    other.mkdir()
    for number in range(25):
        (other / f"{number}").write_text("other")
    ours, folder.tree = folder.tree, other
    folder.run()
    folder.tree = ours
    _, done = folder.run(code=1)
    assert "another run has replaced it" in done.stderr
    folder.run()
    assert folder.output() == output


def test_files_that_vanish_or_change_after_the_listing_are_skipped(own):
    own.run(moment="read", count=1, code=KILLED)  # listed, and nothing read
    (own.tree / "a" / "1.txt").unlink()
    (own.tree / "a" / "2.txt").write_text("longer than it was before, and other words")
    (own.tree / "a" / "3.txt").unlink()
    os.mkfifo(own.tree / "a" / "3.txt")
    (own.tree / "new").write_text("not in the listing")
    own.run()
    report = json.loads((own.out / "report.json").read_text())
    assert report["files"] == 22
    assert report["skipped"] == [
        ["a/1.txt", "vanished"],
        ["a/2.txt", "changed"],
        ["a/3.txt", "changed"],
    ]


def test_a_name_that_is_not_utf8_is_skipped(own):
    Path(os.fsdecode(os.fsencode(own.tree) + b"/odd\xff")).write_text("odd")
    own.run()
    report = json.loads((own.out / "report.json").read_text())
    assert report["skipped"] == [["odd\\xff", "name is not UTF-8"]]


def test_its_own_files_are_not_part_of_the_tree(own):
    folder = Folder(own.tree / "inside", own.tree)  # records and output are below the directory
    order, _ = folder.run()
    assert order[-5:] == ["b/6.txt", "binary", "empty", "inside/log", "latin"]
    assert not any("index_tree_out" in path or "perdure" in path for path in order)


def test_search_finds_all_words_and_fails_without_an_index(folder):
    _, done = folder.run("--search", "common", code=1)
    assert "no finished index" in done.stderr
    folder.run()
    _, done = folder.run("--search", "WORD3 deep")
    assert done.stdout == "a/deep/3.txt: " + "[word3] common a [deep] " * 3 + "...\n"
    assert folder.run("--search", "CAFE")[1].stdout == "latin: [café]\n"
    assert folder.run("--search", "nowhere", code=1)[1].stdout == ""
    assert "no word" in folder.run("--search", '"(', code=1)[1].stderr


def test_the_command_as_it_is_written_shows_plain_progress(folder):
    done = subprocess.run(
        [sys.executable, EXAMPLE / "main.py", folder.tree, "--out", "there"],
        cwd=folder.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    # It looks ten times a second: whether it sees the middle depends on the machine.
    assert done.stderr in ("25 of 25 files\n", "16 of 25 files\n25 of 25 files\n")
    assert done.stdout.startswith(f"{folder.tree}: 25 files (0 skipped)\n")
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "perdure.db",
        "perdure.db-lock",
        "there",
    ]


@pytest.mark.parametrize("arguments", [["--out", "."], ["no/such/directory"], ["--fr"]])
def test_a_wrong_command_line_ends_with_2(arguments, folder):
    done = subprocess.run(
        [
            sys.executable,
            EXAMPLE / "main.py",
            *arguments,
            *([folder.path] * (arguments[-1] == ".")),
        ],
        cwd=folder.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert list(folder.path.iterdir()) == []


@pytest.fixture
def modules(monkeypatch):
    """The modules of the example, as its main program imports them."""
    monkeypatch.syspath_prepend(EXAMPLE)
    yield importlib.import_module("files"), importlib.import_module("index")
    for name in ("files", "index"):
        del sys.modules[name]


def test_a_sqlite_without_fts5_is_a_clear_error(modules, monkeypatch):
    _, index = modules
    connect = sqlite3.connect

    def without_fts5(*arguments, **options):
        class Connection(sqlite3.Connection):
            def execute(self, *arguments):
                raise sqlite3.OperationalError("no such module: fts5")

        return connect(*arguments, factory=Connection, **options)

    monkeypatch.setattr(sqlite3, "connect", without_fts5)
    with pytest.raises(index.IndexProblem, match="SQLITE_ENABLE_FTS5"):
        index.require_fts5()


def test_a_walk_is_continued_behind_any_path(modules, tree):
    files, _ = modules
    whole = list(files.walk(tree, tree / "out"))
    for number, file in enumerate(whole, 1):
        rest = files.walk(tree, tree / "out", tuple(file.path.split("/")))
        assert list(rest) == whole[number:]


def test_batches_hold_both_limits(modules):
    files, _ = modules
    sizes = [5, 5, 1, 20, 1, 1, 1, 1, 9, 2]
    listed = [files.Listed(str(number), size) for number, size in enumerate(sizes)]
    cut = list(files.batches(listed, 3, 10))
    assert [(first, [file.size for file in batch]) for first, batch in cut] == [
        (0, [5, 5]),
        (2, [1]),
        (3, [20]),
        (4, [1, 1, 1]),
        (7, [1, 9]),
        (9, [2]),
    ]
    assert list(files.batches([], 3, 10)) == []


def test_a_file_over_the_text_limit_is_fingerprinted_only(modules, monkeypatch, tree):
    files, _ = modules
    (listed,) = (file for file in files.walk(tree, tree / "out") if file.path == "a/6.txt")
    small = files.read_file(tree, listed)
    monkeypatch.setattr(files, "TEXT_MAX", listed.size - 1)
    large = files.read_file(tree, listed)
    assert (large.fingerprint, large.size) == (small.fingerprint, small.size)
    assert (bool(small.text), large.text) == (True, "")
