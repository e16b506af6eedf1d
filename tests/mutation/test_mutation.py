"""The tool itself: what it plants, that it sees what tests see, and that its list is up to date."""

from __future__ import annotations

import re

import pytest

from tests.mutation import explained
from tests.mutation.groups import GROUPS
from tests.mutation.mutants import SOURCE, Mutant, mutants
from tests.mutation.run import Judge, Verdict


def test_tables_properties_and_data_classes_are_mutated_and_prose_is_not():
    found = list(mutants("core/retry.py")) + list(mutants("core/lifecycle.py"))
    assert {"", "seconds", "Retry", "Retry.delay_after", "may_move"} <= {m.where for m in found}
    assert len({m.source for m in found}) == len({m.key for m in found}) == len(found)
    for mutant in found:
        assert mutant.was != mutant.now
        assert mutant.source != (SOURCE / mutant.file).read_text(encoding="utf-8")
        compile(mutant.source, mutant.file, "exec")
        assert mutant.was.count(" must be ") == mutant.now.count(" must be ")


def test_each_group_has_code_and_each_pattern_means_something():
    for name, group in GROUPS.items():
        for file, where in group.paths():
            names = {each.where for each in mutants(file)}
            for part in re.sub(r"[()$]", "|", where).split("|"):
                assert any(part.split("\\.")[-1] in each for each in names), (name, file, part)


def test_what_is_explained_is_there():
    reasons = explained.read()
    for file in {key[0] for key in reasons}:
        there = {mutant.key for mutant in mutants(file)}
        assert not [key for key in reasons if key[0] == file and key not in there]


@pytest.mark.parametrize("workers", [1, 2])
def test_faults_are_seen_where_tests_look_and_survive_where_none_does(workers):
    (seen,) = [m for m in mutants("core/lifecycle.py") if "not in" in m.now]
    harmless = Mutant("core/lifecycle.py", "may_move", "", "", seen.source.replace("not in", "in"))
    endless = Mutant(
        "core/lifecycle.py", "may_move", "", "", f"{harmless.source}\nwhile True: pass\n"
    )
    judge = Judge(("tests/core/test_pure.py", "-k", "table"), workers, slower=1.0, patience=10.0)
    verdicts = dict(judge.judge([seen, harmless, endless]))
    assert verdicts == {
        seen: Verdict.KILLED,
        harmless: Verdict.SURVIVED,
        endless: Verdict.ENDLESS,
    }


def test_nothing_is_judged_by_tests_that_fail_anyway():
    judge = Judge(("tests/core/test_pure.py", "-k", "no test has this name"), 1)
    with pytest.raises(RuntimeError, match="fails on the code as it is"):
        list(judge.judge([]))
