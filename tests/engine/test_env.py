"""The real world's entropy: nothing is handed out twice, in threads and forked children neither."""

from __future__ import annotations

import os

from perdure.engine.env import TOKEN_BYTES, SystemEnv
from tests.support.stores import in_threads


def test_tokens_of_many_threads_are_all_different() -> None:
    env = SystemEnv()
    found = in_threads(4, lambda _: [env.entropy(TOKEN_BYTES) for _ in range(1_000)])
    tokens = [token for each in found for token in each]
    assert len(set(tokens)) == len(tokens) == 4_000
    assert {len(token) for token in tokens} == {TOKEN_BYTES}
    assert len(env.entropy(5)) == 5


def test_a_forked_child_gets_tokens_of_its_own() -> None:
    env = SystemEnv()
    env.entropy(TOKEN_BYTES)  # from here on some are at hand
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"".join(env.entropy(TOKEN_BYTES) for _ in range(200)))
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    theirs = {text[at : at + TOKEN_BYTES] for at in range(0, len(text), TOKEN_BYTES)}
    ours = {env.entropy(TOKEN_BYTES) for _ in range(200)}
    assert len(theirs) == len(ours) == 200
    assert theirs.isdisjoint(ours)
