"""`perdure doctor --verify`: the audit of a store, in words or as JSON. It decides nothing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import msgspec

from perdure.cli.failures import Exit
from perdure.cli.locate import Source, open_reader
from perdure.cli.output import Output
from perdure.engine.audit import Report, audit
from perdure.engine.baseline import Baseline
from perdure.worker.owner import is_gone


def verify(out: Output, source: Source, *, baseline: Path | None, as_json: bool) -> Exit:
    """Audit the store; exit code 1 if an invariant is broken."""
    report = _look(source, baseline)
    code = Exit.FAILED if report.violations else Exit.OK
    if as_json:
        out.json(msgspec.to_builtins(report))
        return code
    out.line("Audit", "bold")
    out.pairs(((name, str(count)) for name, count in report.facts.items()), "  ")
    if not report.violations:
        out.line("No violations found.", "green")
        return code
    out.line("Violations", "bold red")
    out.pairs((f"{number}.", str(each)) for number, each in enumerate(report.violations, 1))
    if report.unnamed:
        out.line(f"and {report.unnamed} more")
    return code


def _look(source: Source, path: Path | None) -> Report:
    backend = open_reader(source)
    with ExitStack() as stack:
        stack.callback(backend.close)
        baseline = None
        if path is not None:
            baseline = stack.enter_context(Baseline(path, backend.store_id()))
        report = audit(
            backend,
            source.queues,
            app=source.settings.name,
            is_gone=is_gone,
            baseline=baseline,
        )
        if baseline is not None:
            report.facts["compared with the baseline"] = baseline.compared
            if not report.violations:
                baseline.keep()
        return report
