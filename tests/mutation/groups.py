"""What is mutated, and by which tests each part is judged: those next to it, which are fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.mutation.mutants import SOURCE, Mutant, mutants

WHOLE = ""


class Group(NamedTuple):
    """Code and its tests.

    Attributes:
        files: names below the package, or patterns; each with what of it counts, as a regular
            expression for qualified names.
        tests: arguments of pytest.
    """

    files: dict[str, str]
    tests: tuple[str, ...]

    def paths(self) -> list[tuple[str, str]]:
        """The files that there are, each with what of it counts."""
        return [
            (str(path.relative_to(SOURCE)), where)
            for pattern, where in self.files.items()
            for path in sorted(SOURCE.glob(pattern))
        ]

    def mutants(self, only: set[str] | None = None) -> Iterator[Mutant]:
        """All its mutants, or those of some files."""
        for file, where in self.paths():
            if only is None or file in only:
                yield from mutants(file, where)


GROUPS = {
    "core": Group({"core/*.py": WHOLE}, ("tests/core",)),
    "values": Group({"values/*.py": WHOLE}, ("tests/values",)),
    # What fences off who lost a lease: epochs and heads in the store, and leases in the process.
    "store": Group(
        {
            "backends/memory.py": (
                r"MemoryBackend\.(claim|renew|resume|commit|seize|_refusal|_apply|_append|_dispose"
                r"|_end|_put|_due_at|_grant|_matching)$"
            ),
            "backends/memory_rows.py": r"(holds|is_abandoned|is_ready|seized_row)$",
        },
        ("tests/contract/test_contract.py::TestMemory", "tests/backends/test_memory.py"),
    ),
    "leases": Group(
        {
            "engine/runtime.py": r"LeaseTable",
            "engine/ledger.py": r"(Ledger\.(hold|commit)|settle|_settle_at)$",
            "engine/committer.py": r"(until_known|Committer\._(settle|read_back|commit\w*))$",
        },
        (
            *("tests/engine/test_pieces.py", "tests/engine/test_small_parts.py"),
            *("tests/engine/test_settling.py", "tests/engine/test_committer.py"),
            *("tests/engine/test_corners.py", "tests/engine/test_unlikely.py"),
            *("tests/engine/test_ledger.py", "tests/worker/test_leases.py"),
        ),
    ),
}
