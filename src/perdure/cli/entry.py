"""Runs one command and turns how it ends into an exit code and one clear message."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Generator, Sequence

from cyclopts import App, CycloptsError

from perdure.cli.commands import build
from perdure.cli.failures import CommandError, Exit, exit_code_of
from perdure.cli.output import Output
from perdure.errors import PerdureError


def run(argv: Sequence[str] | None) -> int:
    """Run the command of `argv` (None: of this process) and give the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    out = Output()
    debug = "--debug" in arguments
    with _logging(debug=debug):
        try:
            code = _run(out, arguments, debug=debug)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            return Exit.BROKEN_PIPE
    return int(code)


def _run(out: Output, arguments: list[str], *, debug: bool) -> int:
    app = build(out)
    try:
        code = app(arguments)
    except CycloptsError as error:
        out.error(str(error))
        out.message(f"See: perdure {_command_words(app, arguments)}--help")
        return Exit.USAGE
    except CommandError as error:
        _trace(out, error.__cause__, debug=debug)
        out.error(str(error))
        return error.exit_code
    except PerdureError as error:
        _trace(out, error, debug=debug)
        out.error("\n".join([str(error), *getattr(error, "__notes__", ())]), error.code)
        return exit_code_of(error)
    except KeyboardInterrupt:
        out.message("Interrupted.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last one who could tell it in one line
        _trace(out, error, debug=debug)
        hint = "" if debug else " (--debug shows the traceback.)"
        out.error(f"{type(error).__name__}: {error}{hint}")
        return Exit.FAILED
    return code if isinstance(code, int) else Exit.OK


def _command_words(app: App, arguments: Sequence[str]) -> str:
    """The command in front of the options, for a hint: `workflow list `."""
    words = ""
    for word in arguments:
        if word not in app:
            break
        app = app[word]
        words += f"{word} "
    return words


def _trace(out: Output, error: BaseException | None, *, debug: bool) -> None:
    if debug and error is not None:
        out.message("".join(traceback.format_exception(error)).rstrip(), "dim")


@contextlib.contextmanager
def _logging(*, debug: bool) -> Generator[None]:
    """With --debug perdure's log records go to stderr; without it what matters is told anyway."""
    logger = logging.getLogger("perdure")
    handler = logging.StreamHandler(sys.stderr) if debug else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    if debug:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _forget_stdout() -> None:
    """The reader of stdout is gone (`| head`); keep the interpreter's last flush from failing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
