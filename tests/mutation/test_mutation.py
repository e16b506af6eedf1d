"""The tool itself: what it plants, that it sees what tests see, and that its list is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import pytest

from tests.mutation import __main__ as tool
from tests.mutation import explained
from tests.mutation.groups import GROUPS
from tests.mutation.mutants import SOURCE, mutants
from tests.mutation.run import Judge


def test_tables_properties_and_data_classes_are_mutated_and_prose_is_not():
    found = list(mutants("core/retry.py")) + list(mutants("core/lifecycle.py"))
    assert {"", "seconds", "Retry", "Retry.delay_after", "may_move"} <= {m.where for m in found}
    assert len({m.source for m in found}) == len({m.key for m in found}) == len(found)
    for mutant in found:
        assert mutant.was != mutant.now
        assert mutant.source != (SOURCE / mutant.file).read_text(encoding="utf-8")
        compile(mutant.source, mutant.file, "exec")
        assert not (" must be " in mutant.now and "XX" in mutant.now)


def test_each_group_has_code_and_each_pattern_means_something():
    for name, group in GROUPS.items():
        for file, where in filter(itemgetter(1), group.paths()):
            names = {each.where for each in mutants(file)}
            for part in re.sub(r"[()$]|\\w\*", "|", where).split("|"):
                assert any(part.split("\\.")[-1] in each for each in names), (name, file, part)


def test_what_is_explained_is_there():
    reasons = explained.read()
    for file in {key[0] for key in reasons}:
        there = {mutant.key for mutant in mutants(file)}
        assert not [key for key in reasons if key[0] == file and key not in there]


PLANT = """
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.run import Judge

(seen,) = [each for each in mutants("core/lifecycle.py") if "not in" in each.now]
harmless = seen._replace(source=seen.source.replace("not in", "in"))
endless = seen._replace(source=harmless.source + "\\nwhile True: pass\\n")
judge = Judge(("tests/core/test_pure.py", "-k", "{tests}"), {workers}, slower=1.0, patience=8.0)
verdicts = dict(judge.judge([seen, harmless, endless]))
print(*(verdicts[each].value for each in (seen, harmless, endless)))
"""


def judged(tests: str, workers: int = 1) -> subprocess.CompletedProcess[str]:
    """In a process that has imported nothing of ours, as it must be."""
    return subprocess.run(
        [sys.executable, "-c", PLANT.format(tests=tests, workers=workers)],
        capture_output=True,
        text=True,
        check=False,
        cwd=SOURCE.parents[1],
    )


def test_faults_are_seen_where_tests_look_and_survive_where_none_does():
    ended = judged("table", 3)
    assert ended.stdout == "killed survived endless\n", ended.stderr


def test_the_tests_that_are_named_after_a_file_are_asked_first():
    mutant = next(mutants("values/codec.py"))
    first = Judge(("tests/values", "-k", "x"), 1)._named_after(mutant)
    assert {Path(name).name for name in first} == {"test_codec.py", "test_codec_models.py"}
    assert not Judge(("tests/contract/test_contract.py::TestMemory",), 1)._named_after(mutant)


def test_nothing_is_judged_by_tests_that_fail_anyway():
    ended = judged("nothing_has_this_name")
    assert ended.returncode == 1
    assert "fails on the code as it is" in ended.stderr


def test_nothing_is_judged_where_the_code_was_imported_before():
    assert "perdure" in sys.modules
    with pytest.raises(AssertionError, match="would not be loaded"):
        list(Judge(("tests/core",), 1).judge([]))


def test_what_was_changed_last_is_told_by_the_newest_commit_to_anything_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []

    def git(*words: str) -> list[str] | None:
        asked.append(words)
        return ["abc"] if words[0] == "log" else ["src/perdure/core/retry.py"]

    monkeypatch.setattr(tool, "_git", git)
    assert tool.changed() == {"core/retry.py"}
    assert [words[:3] for words in asked] == [
        ("log", "-1", "--format=%H"),
        ("diff", "--name-only", "abc~1"),
    ]
    assert str(SOURCE / "values/codec.py") in asked[0]
    monkeypatch.setattr(tool, "_git", lambda *words: ["abc"] if words[0] == "log" else None)
    assert tool.changed() is None, "of the first commit nothing is before"
