"""A loopback proxy before PostgreSQL that cuts chosen COMMITs, before or after forwarding them.

It reads the client's messages only as far as needed to know which one commits a transaction that
wrote (see "Message Formats" in the manual of PostgreSQL). Everything else passes untouched.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

Choose = Callable[[str], str]
"""Asked at each COMMIT of a transaction that appended an "entry" or granted a "claim", and at each
statement that does so and commits by itself: "pass", or whether to cut it "before" or "after" it
has happened."""
_WRITES = {
    b"perdure.commit(": "entry",
    b"crashes = crashes + CASE": "claim",
}


class CommitCutter:
    """Listens on a free loopback port while it is used as a context manager.

    Args:
        freezes: a client that sent a statement with these words is held from its next Sync on, as
            if its process were stopped: it is connected, and nothing more comes of it.

    Attributes:
        frozen: set when a client was, and the server has answered.
        cuts: how often it cut what, as ("entry", "before").
    """

    def __init__(self, server_url: str, choose: Choose, freezes: bytes = b"") -> None:
        self._target = urlsplit(server_url)
        self._choose = choose
        self.freezes = freezes
        self.frozen = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.cuts: Counter[tuple[str, str]] = Counter()

    @property
    def url(self) -> str:
        """The server's URL with our port."""
        name, port = self._target.username, self._listener.getsockname()[1]
        plain = "sslmode=disable&gssencmode=disable"  # the proxy reads what is said
        return urlunsplit(self._target._replace(netloc=f"{name}@127.0.0.1:{port}", query=plain))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._sockets:
                _end(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            address = (self._target.hostname or "127.0.0.1", self._target.port or 5432)
            server = socket.create_connection(address)
            with self._lock:
                self._sockets += [client, server]
            threading.Thread(target=_Link(self, client, server).run, daemon=True).start()

    def decide(self, what: str) -> str:
        """What to do with this COMMIT."""
        with self._lock:
            choice = self._choose(what)
            if choice != "pass":
                self.cuts[what, choice] += 1
        return choice


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: CommitCutter, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._texts: dict[bytes, bytes] = {}
        self._wrote = ""
        self._in_transaction = False
        self._muted = False
        self._freezing = False
        self._is_frozen = False
        self._is_silent = False
        self._committed = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self._backward, daemon=True).start()
        try:
            self._forward()
        except OSError:
            pass
        finally:
            _end(self._client)
            _end(self._server)

    def _forward(self) -> None:
        stream = self._client.makefile("rb")
        (length,) = struct.unpack("!I", stream.read(4))
        self._server.sendall(struct.pack("!I", length) + stream.read(length - 4))
        for kind, body in _messages(stream.read):
            if self._is_held(kind, body):
                continue
            what = self._committed_by(kind, body)
            if not what:
                self._send(kind, body)
                continue
            choice = self._proxy.decide(what)
            if choice == "before":
                return
            self._muted = choice == "after"
            self._send(kind, body)
            if self._muted:
                for later, content in _messages(stream.read):
                    self._send(later, content)
                    if later in b"SQ":
                        break
                # Only when the server has told that it is committed is the client cut off.
                self._committed.wait(30)
                return

    def _is_held(self, kind: bytes, body: bytes) -> bool:
        """Whether this is not to be passed on: it comes after the Sync at which we freeze.

        A Flush right behind that belongs to it: the driver sends both at once.
        """
        words = self._proxy.freezes
        if words and kind == b"P" and words in body:
            self._freezing = True
        if kind == b"S" and self._freezing and not self._is_frozen:
            self._proxy.freezes = b""
            self._is_frozen = True
            self._send(kind, body)
            return True
        if self._is_frozen and kind != b"H":
            self._is_silent = True
        return self._is_silent

    def _send(self, kind: bytes, body: bytes) -> None:
        self._server.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def _committed_by(self, kind: bytes, body: bytes) -> str:
        """What the transaction wrote that this message commits; "" if it is another message."""
        if kind == b"P":
            name, text, *_ = body.split(b"\0")
            self._texts[name] = text
        if kind != b"B":
            return ""
        _, name, *_ = body.split(b"\0")
        text = self._texts.get(name, b"")
        if text.startswith((b"BEGIN", b"ROLLBACK")):
            self._wrote = ""
            self._in_transaction = text.startswith(b"BEGIN")
        self._wrote = next((what for part, what in _WRITES.items() if part in text), self._wrote)
        if self._in_transaction and not text.startswith(b"COMMIT"):
            return ""
        self._in_transaction, wrote, self._wrote = False, self._wrote, ""
        return wrote

    def _backward(self) -> None:
        with suppress(OSError):
            stream = self._server.makefile("rb")
            for kind, body in _messages(stream.read):
                if self._is_frozen and kind == b"Z":
                    self._proxy.frozen.set()
                if self._muted:
                    # A statement that commits by itself has done so when the server is ready.
                    if kind == b"Z":
                        self._committed.set()
                else:
                    self._client.sendall(kind + struct.pack("!I", len(body) + 4) + body)
        self._committed.set()
        _end(self._client)


def _messages(read: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Typed messages until the end of the stream."""
    while kind := read(1):
        (length,) = struct.unpack("!I", read(4))
        yield kind, read(length - 4)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
