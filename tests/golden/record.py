"""Records a history of every program, and of every workflow that it starts.

    python -m tests.golden.record FOLDER [PROGRAM...]

A file that is there is left as it is: it is what a release wrote. Source files, in lines and
tracebacks, are named as from the folder of the project, so that no file tells of one machine.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from perdure.engine.lines import calling_line
from perdure.testing import export_history
from perdure.values import exceptions
from tests.golden import SEPARATOR
from tests.programs import MODULES, Program, programs

WORKFLOW_ID = "golden"
SECONDS = 60.0
FOLDERS = {
    f"{Path(__file__).parents[2]}/": "",
    f"{sysconfig.get_path('purelib')}/": "site-packages/",
    f"{sysconfig.get_path('stdlib')}/": "python/",
    f"{Path(shutil.__file__).parent}/": "python/",
}
"""Folders of this machine, and what stands for them."""


def _anywhere(text: str) -> str:
    for folder, name in FOLDERS.items():
        text = text.replace(folder, name)
    return text


def _of(make: Callable[..., str]) -> Callable[..., str]:
    return lambda *given: _anywhere(make(*given))


@contextmanager
def _recorded_anywhere() -> Iterator[None]:
    """What is recorded within names no folder of this machine."""
    with (
        mock.patch("perdure.engine.context.calling_line", _of(calling_line)),
        mock.patch("perdure.engine.branch.calling_line", _of(calling_line)),
        mock.patch.object(exceptions, "_traceback_text", _of(exceptions._traceback_text)),
    ):
        yield


def record(program: Program, folder: Path) -> list[Path]:
    """Run a program to its end and write what it left; gives the new files."""
    # Equal store, app and id give equal derived ids.
    backend = MemoryBackend(store_id=bytes(16))
    with _recorded_anywhere(), Perdure(backend=backend, name="golden", grace=0.0) as app:
        program.build(app)
        handle = app.named("main").options(id=WORKFLOW_ID).start(*program.args)
        try:
            handle.result(SECONDS)
        except Exception as error:
            print(f"{program.name} ends with {type(error).__name__}")
        others = sorted(
            (info.created_at, info.invocation_id)
            for info in app.workflows(limit=1000)
            if info.invocation_id != WORKFLOW_ID
        )
        written = []
        for number, id_ in enumerate([WORKFLOW_ID, *(id_ for _, id_ in others)]):
            file = folder / f"{program.name}{SEPARATOR}{number}.json"
            if not file.exists():
                export_history(app, id_, file)
                written.append(file)
        return written


def main(folder: str, *names: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, program in programs(*MODULES).items():
        if not names or name in names:
            print(name, *(file.name for file in record(program, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
