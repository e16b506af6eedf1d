"""Random damage to the files of an SQLite store, and what is then told of what was in it.

Each question has one right answer, asked before the damage. Afterwards it is answered rightly or by
a typed error; any other value is a silent wrong one, and any other exception is a bug too.

What no check of ours can see, and is only counted:

* A write-ahead log that is damaged ends there for SQLite, as after a power cut. What is left is an
  earlier state of the store, whole and consistent, and it is told as it was then ("older").
* What `wf.set_data` published and what lies unread in an inbox has no seal of its own, so it may be
  changed or gone ("unsealed").
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from perdure import Perdure, wf
from perdure.backends.sqlite import SQLiteBackend
from perdure.core.lifecycle import TERMINAL
from perdure.errors import PerdureError, ResultTimeout
from perdure.testing.linearizability import receive_words
from tests.support.stores import run_until_idle, step

PAGE = 4_096
EACH = 2
"""Workflows of each kind."""
SEALED = ("result of", "call of", "stream of")
"""What is never told as it was at an earlier time either: there was nothing to tell then."""
LIVE_EVERY = 5
"""In every so many damaged copies, what has not ended is run to its end."""
STEPS_MAX = 60
RARE = ("right", "error", "refused", "JournalCorrupted", "ran right")

Questions = dict[str, Callable[[], Any]]


def build(app: Perdure) -> None:
    """The same functions in each process; every value follows from the arguments."""

    @app.task(name="text")
    def text(number: int) -> str:
        return f"text-{number}-" + "abcdefgh" * (number % 7)

    @app.workflow(name="sums")
    def sums(number: int, label: str) -> dict[str, Any]:
        wf.set_data("label", f"data of {label}")
        wf.publish("seen", f"published by {label}")
        parts = [text(number + each) for each in range(3)]
        return {"label": label, "parts": parts, "below": below.start(number).result()}

    @app.workflow(name="below")
    def below(number: int) -> str:
        return text(number + 100)

    @app.workflow(name="fails")
    def fails(number: int) -> None:
        raise ValueError(f"failed with {text(number)}")

    app.workflow(name="words")(receive_words)


def app_on(path: Path, *, read_only: bool = False, lease: float = 30.0) -> Perdure:
    backend = SQLiteBackend(path, synchronous="normal", read_only=read_only, lock_timeout=1.0)
    app = Perdure(backend=backend, name="damage", local_worker=False, grace=0.0, lease=lease)
    build(app)
    return app


class Original:
    """A store with something of everything, and its answers.

    Attributes:
        answers: while it stood still.
        ends: what the live ones give when they are let go on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "original"
        self.folder.mkdir()
        path = self.folder / "perdure.db"
        app = app_on(path)
        for number in range(EACH):
            app.named("sums").options(id=f"sums-{number}").start(number, f"label {number}")
            app.named("fails").options(id=f"fails-{number}").start(number)
            half = app.named("words").options(id=f"half-{number}").start(2)
            half.send("word", f"first word of {number}", id="m1")
        run_until_idle(app)
        for number in range(EACH):
            handle = app.invocation(f"half-{number}")
            handle.pause()
            handle.send("word", f"second word of {number}", id="m2")  # it lies in the inbox
            app.named("sums").options(id=f"new-{number}").start(50 + number, f"new {number}")
        self._copy("with-log")
        app.close()
        self._copy("closed")
        app = app_on(path)
        self.answers = {name: ask() for name, ask in questions(app).items()}
        self.ends = ends(app)
        app.close()

    def _copy(self, name: str) -> None:
        shutil.copytree(self.folder, self.folder.parent / name, dirs_exist_ok=True)

    def files(self, *, with_log: bool) -> Path:
        return self.folder.parent / ("with-log" if with_log else "closed")


def _ids() -> list[str]:
    return [f"{kind}-{n}" for kind in ("sums", "fails", "half", "new") for n in range(EACH)]


def questions(app: Perdure) -> Questions:
    """Everything that a user may ask of a store that stands still."""
    found: Questions = {}
    for id_ in _ids():
        found[f"status of {id_}"] = partial(_status, app, id_)
        found[f"call of {id_}"] = partial(_call, app, id_)
        if not id_.startswith(("half", "new")):
            found[f"result of {id_}"] = partial(_result, app, id_)
        if id_.startswith("sums"):
            found[f"data of {id_}"] = partial(_data, app, id_)
            found[f"stream of {id_}"] = partial(_stream, app, id_)
        if id_.startswith("half"):
            found[f"inbox of {id_}"] = partial(_inbox, app, id_)
    return found


def _status(app: Perdure, id_: str) -> Any:
    return app.invocation(id_).status


def _call(app: Perdure, id_: str) -> Any:
    return repr(app.invocation(id_).call.arguments)


def _data(app: Perdure, id_: str) -> Any:
    return app.invocation(id_).get_data("label", "nothing")


def _inbox(app: Perdure, id_: str) -> Any:
    rows = app.runtime.backend.read_inbox(app.invocation(id_).key)
    return [row.letter for row in rows]


def _result(app: Perdure, id_: str) -> Any:
    if app.invocation(id_).status not in TERMINAL:
        raise ResultTimeout("it has not ended")
    try:
        return app.invocation(id_).result(0)
    except ValueError as error:
        return repr(error)


def _stream(app: Perdure, id_: str) -> list[str]:
    return list(app.invocation(id_).stream("seen", str, timeout=0.001))


def ends(app: Perdure) -> dict[str, Any]:
    """Let go on what has not ended; what each gives then, None for one that does not end."""
    for number in range(EACH):
        app.invocation(f"half-{number}").resume()
    for _ in range(STEPS_MAX):
        if not step(app, limit=4):
            break
    found = {}
    for id_ in _ids():
        if id_.startswith(("half", "new")):
            ended = app.invocation(id_).status in TERMINAL
            found[id_] = _result(app, id_) if ended else None
    return found


# --- damage -------------------------------------------------------------------------------------


def flip_a_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def change_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(2, 16)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def change_a_run(data: bytearray, chance: random.Random) -> None:
    at, length = chance.randrange(len(data)), chance.randint(1, 600)
    end = min(len(data), at + length)
    data[at:end] = bytes(end - at) if chance.random() < 0.5 else chance.randbytes(end - at)


def change_a_letter(data: bytearray, chance: random.Random) -> None:
    """In a text, where nothing of the format would show it."""
    word = chance.choice((b"label", b"text-", b"word", b"data of"))
    at = data.find(word, chance.randrange(len(data)))
    if at >= 0:
        data[at + chance.randrange(4)] ^= 1


def _two_pages(data: bytearray, chance: random.Random) -> list[slice]:
    chosen = chance.choices(range(len(data) // PAGE), k=2)
    return [slice(number * PAGE, (number + 1) * PAGE) for number in chosen]


def swap_pages(data: bytearray, chance: random.Random) -> None:
    one, other = _two_pages(data, chance)
    data[one], data[other] = data[other], data[one]


def repeat_a_page(data: bytearray, chance: random.Random) -> None:
    one, other = _two_pages(data, chance)
    data[one] = data[other]


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


DAMAGES = (
    flip_a_bit,
    change_bytes,
    change_a_run,
    change_a_letter,
    swap_pages,
    repeat_a_page,
    truncate,
)


def damaged(original: Original, folder: Path, number: int, chance: random.Random) -> str:
    """A damaged copy in `folder`; gives what was done to it."""
    with_log = number % 3 == 2
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original.files(with_log=with_log), folder)
    file = folder / ("perdure.db-wal" if with_log and chance.random() < 0.7 else "perdure.db")
    kind = DAMAGES[number % len(DAMAGES)]
    data = bytearray(file.read_bytes())
    kind(data, chance)
    file.write_bytes(data)
    return f"{kind.__name__} in {file.name}"


# --- judging ------------------------------------------------------------------------------------


class Judge:
    """Compares answers, and counts."""

    def __init__(self, original: Original) -> None:
        self.original = original
        self.counters: Counter[str] = Counter()
        self.wrong: list[str] = []

    def look(self, folder: Path, what: str, *, is_older: bool) -> None:
        """Ask everything of a damaged copy."""
        app = app_on(folder / "perdure.db", read_only=True)
        try:
            app.runtime.backend.store_id()
            for name, ask in questions(app).items():
                self._compare(f"{what}: {name}", ask, self.original.answers[name], is_older)
        except PerdureError as error:
            self.counters["refused"] += 1
            self.counters[type(error).__name__] += 1
        except Exception as error:
            self.wrong.append(f"{what}: opening: {type(error).__name__}: {error}")
        finally:
            app.close()

    def go_on(self, folder: Path, what: str) -> None:
        """Let live ones end: with the right result, or not at all."""
        app = app_on(folder / "perdure.db")
        try:
            found = ends(app)
        except PerdureError as error:
            self.counters["ran into an error"] += 1
            self.counters[type(error).__name__] += 1
            return
        except Exception as error:
            self.wrong.append(f"{what}: while going on: {type(error).__name__}: {error}")
            return
        finally:
            app.close()
        for id_, right in self.original.ends.items():
            if found[id_] == right:
                self.counters["ran right"] += 1
            elif found[id_] is None:
                self.counters["did not end"] += 1
            elif id_.startswith("half"):  # its second word was unsealed
                self.counters["unsealed"] += 1
            else:
                self.wrong.append(f"{what}: end of {id_}: {found[id_]!r}, not {right!r}")

    def _compare(self, what: str, ask: Callable[[], Any], right: Any, is_older: bool) -> None:
        try:
            found = ask()
        except PerdureError as error:
            self.counters["error"] += 1
            self.counters[type(error).__name__] += 1
            return
        except Exception as error:
            self.wrong.append(f"{what}: {type(error).__name__}: {error}")
            return
        if found == right:
            self.counters["right"] += 1
        elif is_older and not any(each in what for each in SEALED):
            self.counters["older"] += 1
        elif "data of" in what or "inbox of" in what:
            self.counters["unsealed"] += 1
        else:
            self.wrong.append(f"{what}: {found!r}, not {right!r}")


def campaign(folder: Path, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """So many damaged copies; gives what was counted, and what was wrong."""
    original = Original(folder)
    judge = Judge(original)
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        copy = folder / "copy"
        what = f"{number}: {damaged(original, copy, number, chance)}"
        is_older = "wal" in what
        judge.look(copy, what, is_older=is_older)
        if number % LIVE_EVERY == 0:
            judge.go_on(copy, what)
        judge.counters["damaged"] += 1
    return judge.counters, judge.wrong
