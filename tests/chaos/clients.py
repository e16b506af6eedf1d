"""A process of clients: reads seeds from its input, plays its share of each history, tells of it.

    python -m tests.chaos.clients URL LOG NUMBER

A call is in the log before it is made, so that one whose process is killed is known of.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from perdure import Perdure
from perdure.errors import BackendError
from perdure.testing.linearizability import receive_words
from tests.chaos.histories import CLIENTS, NAME, PROCESSES, Script, play
from tests.chaos.program import Log


class Told:
    """A history that outlives its process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._numbers = itertools.count()

    def call(self, client: str, name: str, given: str, run: Callable[[], str]) -> str | None:
        number = next(self._numbers)
        self._log.write("asked", number, client, name, given, time.monotonic_ns())
        try:
            answer = run()
        except BackendError:
            return None
        self._log.write("answered", number, answer, time.monotonic_ns())
        return answer


def main(url: str, log: str, number: str) -> None:
    app = Perdure(url, name="chaos", local_worker=False)
    app.workflow(name=NAME)(receive_words)
    told = Told(Log(Path(log)))
    mine = range(int(number), CLIENTS, PROCESSES)
    for line in sys.stdin:
        script = Script.of(int(line))
        threads = [
            threading.Thread(target=play, args=(app, told, script, client)) for client in mine
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(line, end="", flush=True)
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
