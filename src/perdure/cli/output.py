"""Where output goes: data to stdout, messages to stderr, colour only on a terminal.

Everything printed here passes `perdure.cli.text` first; nothing from a database is taken as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from perdure.cli.text import clean, clean_lines, json_line, json_text

STYLES = {
    "completed": "green",
    "running": "cyan",
    "ready": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "parked": "bold red",
    "dead": "bold red",
    "failed": "red",
    "cancelled": "magenta",
    "terminated": "magenta",
}
"""Colours of the states of an invocation."""

UNLIMITED_WIDTH = 1_000_000
"""Columns where there is no terminal: nothing is wrapped or cut for a program that reads it."""

HELP_WIDTH = 100


class Cell(NamedTuple):
    """One field of a table. The text is cleaned when it is printed."""

    text: str
    style: str = ""


Row = Sequence[Cell | str]


class _Console(Console):
    """Leaves it to the command's end what a reader that is gone (`| head`) means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """The two streams of a command, as they are when it starts."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        """Look at the streams: terminal or not, colours wanted or not (NO_COLOR, FORCE_COLOR)."""
        self.out = _console(stdout or sys.stdout)
        self.err = _console(stderr or sys.stderr)
        self.help = _Console(
            file=self.out.file,
            width=min(self.out.width, HELP_WIDTH),
            color_system="auto" if self.out.is_terminal else None,
        )

    # --- data -----------------------------------------------------------------------------------

    def json(self, value: object) -> None:
        """Plain data as JSON: indented on a terminal, else on one line."""
        text = json_text(value) if self.out.is_terminal else json_line(value)
        self._write(self.out, Text(text))

    def line(self, text: str = "", style: str = "") -> None:
        """One line of data; line breaks in `text` stay."""
        self._write(self.out, Text(clean_lines(text), style=style))

    def pairs(self, pairs: Iterable[tuple[str, str | Cell]], indent: str = "") -> None:
        """Names and values, one pair a line."""
        listed = list(pairs)
        width = max((len(name) for name, _ in listed), default=0)
        for name, value in listed:
            cell = value if isinstance(value, Cell) else Cell(value)
            text = Text(indent)
            text.append(f"{clean(name):{width}}  ", style="dim")
            text.append(
                clean_lines(cell.text).replace("\n", f"\n{indent}{'':{width}}  "), cell.style
            )
            self._write(self.out, text)

    def table(self, header: Sequence[str], rows: Iterable[Row]) -> None:
        """Aligned columns; on a terminal each line is cut at its width, else nothing is cut."""
        cells = [[_cell(field) for field in row] for row in rows]
        titles = [Cell(title, "dim") for title in header]
        lines = [titles, *cells] if header else cells
        count = max((len(line) for line in lines), default=0)
        widths = [
            max((cell_len(line[column].text) for line in lines if column < len(line)), default=0)
            for column in range(count)
        ]
        for line in lines:
            text = Text()
            for number, cell in enumerate(line):
                last = number == len(line) - 1
                pad = 0 if last else widths[number] - cell_len(cell.text) + 2
                text.append(cell.text, style=cell.style)
                text.append(" " * pad)
            text.rstrip()
            if self.out.is_terminal:
                text.truncate(self.out.width, overflow="ellipsis")
            self._write(self.out, text)

    # --- messages -------------------------------------------------------------------------------

    def message(self, text: str, style: str = "") -> None:
        """A message for the person at the terminal."""
        self._write(self.err, Text(clean_lines(text), style=style))

    def error(self, text: str, code: str = "") -> None:
        """An error: what went wrong, and its stable code."""
        line = Text("error", style="bold red")
        line.append(f"[{code}]: " if code else ": ", style="bold red" if not code else "red")
        line.append(clean_lines(text))
        self._write(self.err, line)

    def _write(self, console: Console, text: Text) -> None:
        text.no_wrap = True
        console.print(text, soft_wrap=True, end="\n")


def _cell(field: Cell | str) -> Cell:
    cell = field if isinstance(field, Cell) else Cell(field)
    return Cell(clean(cell.text), cell.style)


def _console(stream: TextIO) -> Console:
    # A stream that cannot show a character gets its escape instead of an exception.
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    plain = _Console(file=stream, markup=False, highlight=False, emoji=False)
    if plain.is_terminal:
        return plain
    return _Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        width=UNLIMITED_WIDTH,
        color_system=None,
    )
