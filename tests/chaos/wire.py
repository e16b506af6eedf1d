"""A loopback wire between a process and its server, which a test makes slow, silent or dead.

It knows nothing of what is said on it. TCP loses no byte in the middle of a connection that lives:
what a partition holds up arrives when it is over ("hole"), or the connection is reset ("lost").
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

TROUBLES = ("slow", "cut", "refuse", "hole", "lost")
"""What can be wrong: bytes come late; connections end in the middle of a message; none can be made
and those that are there are reset; nothing comes through, in either direction, until it is healed;
the same, and then those that waited are reset."""
LATENCY_SECONDS = 0.05
"""Of a slow wire, at most, in each direction."""
CUT_CHANCE = 0.1
"""How often a piece of what is said is cut, and its connection with it."""
_PIECE = 65_536
_OK = "ok"


class Wire:
    """Listens on a free loopback port while it is used as a context manager.

    Attributes:
        counts: how often what happened: "slow", "cut", "refuse", "hole", "lost".
    """

    def __init__(self, server_url: str, seed: int) -> None:
        self._target = urlsplit(server_url)
        self._chance = random.Random(f"wire {seed}")
        self._changed = threading.Condition()
        self._trouble = _OK
        self._links: set[_Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = False
        self.counts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """The server's URL with our port."""
        name, port = self._target.username, self._listener.getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{name}@127.0.0.1:{port}"))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self.heal()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset_all()

    def become(self, trouble: str) -> None:
        """Let this be wrong from now on."""
        assert trouble in TROUBLES
        with self._changed:
            self._trouble = trouble
            self._changed.notify_all()
        if trouble == "refuse":
            self.counts["refuse"] += self._reset_all()

    def bites(self, trouble: str) -> bool:
        """Whether something met this trouble, now or before."""
        with self._changed:
            waits = trouble == "lost" and any(link.waits for link in self._links)
            return waits or self.counts[trouble] > 0

    def heal(self) -> None:
        """Let all be well from now on."""
        with self._changed:
            was, self._trouble = self._trouble, _OK
            waiting = [link for link in self._links if link.waits]
            self._changed.notify_all()
        if was == "lost":
            for link in waiting:
                link.reset()
            self.counts["lost"] += len(waiting)

    # --- links ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._trouble == "refuse":
                # As good as a refused connection: nothing was said, and the port stays ours.
                self.counts["refuse"] += 1
                _reset(client)
                continue
            try:
                server = socket.create_connection(
                    (self._target.hostname or "127.0.0.1", self._target.port or 5432)
                )
            except OSError:
                _reset(client)
                continue
            link = _Link(self, client, server)
            with self._changed:
                self._links.add(link)
            link.start()

    def _reset_all(self) -> int:
        with self._changed:
            links, self._links = self._links, set()
        for link in links:
            link.reset()
        return len(links)

    def forget(self, link: _Link) -> None:
        with self._changed:
            self._links.discard(link)

    def pass_on(self, link: _Link, size: int) -> int:
        """How many of so many bytes come through; fewer than all of them end the connection."""
        with self._changed:
            trouble = self._trouble
            if trouble in ("hole", "lost"):
                self.counts["hole"] += trouble == "hole"
                link.waits += 1
                self._changed.wait_for(lambda: self._trouble not in ("hole", "lost"))
                link.waits -= 1
                return size
            if trouble == "cut" and self._chance.random() < CUT_CHANCE:
                self.counts["cut"] += 1
                return self._chance.randrange(size)
            delay = self._chance.uniform(0, LATENCY_SECONDS) if trouble == "slow" else 0.0
            self.counts["slow"] += trouble == "slow"
        time.sleep(delay)  # not for luck: it is what a slow wire does
        return size


class _Link:
    """One connection through the wire.

    Attributes:
        waits: directions in which something is held up.
    """

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._ends = (client, server)
        self.waits = 0

    def start(self) -> None:
        client, server = self._ends
        for pair in ((client, server), (server, client)):
            threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                through = self._wire.pass_on(self, len(piece))
                sink.sendall(piece[:through])
                if through < len(piece):
                    self.reset()
                    break
            else:
                sink.shutdown(socket.SHUT_WR)  # one side hung up in peace
                return
        self._wire.forget(self)
        self.reset()

    def reset(self) -> None:
        """End it at both ends, as a router does that has forgotten it."""
        for end in self._ends:
            _reset(end)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)  # whoever reads it here wakes up; the other end hears a reset
    end.close()
