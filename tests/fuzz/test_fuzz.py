"""A bounded piece of each campaign: the same inputs on every machine, and the guard itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutate import Mutator
from tests.fuzz.processes import fuzz
from tests.fuzz.targets import find_target, names
from tests.support.processes import environment

INPUTS = 2_000
"""Of each target. More of them, and other ones: python -m tests.fuzz --seconds 600"""
SECONDS = 60.0
"""A target is through long before; a machine that is so slow feeds it less."""

TAKES_ALL = {"timeline", "reply", "outcome"}
"""Readers that make something of everything: a line to be shown, a failure of the attempt."""

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", names())
def test_hostile_bytes(name: str) -> None:
    report = fuzz(name, "ci", count=INPUTS, seconds=SECONDS)
    assert report["failures"] == []
    assert report["inputs"] > INPUTS // 10
    # A harness in which nothing is read, or nothing refused, has tried nothing.
    assert report["accepted"] > 20
    assert report["refused"] > 20 or name in TAKES_ALL


@pytest.mark.parametrize("name", names())
def test_a_target_has_examples_that_are_read_and_inputs_of_its_own(name: str) -> None:
    target = find_target(name)
    first, second = (Mutator("seed", target.examples, target.words) for _ in range(2))
    made = [first.next() for _ in range(50)]
    assert made == [second.next() for _ in range(50)]
    assert len(set(made)) > 10


PLANTED = {
    "import": "import antigravity",
    "import by name": "importlib.import_module(text)",
    "what is loaded": "getattr(sys.modules['perdure_bait'], 'Thing')",
    "eval": "eval('1')",
    "exec": "exec('1')",
    "pickle": "pickle.loads(b'cos\\nsystem\\n.')",
    "a command": "os.system('true')",
    "a process": "subprocess.run(['true'])",
    "a fork": "os.fork() or os._exit(0)",
    "a socket": "socket.create_connection(('127.0.0.1', 1))",
    "a file": "open('planted', 'w')",
    "a file by number": "os.open('planted', os.O_CREAT | os.O_WRONLY)",
    "removal": "os.remove('planted')",
    "another error": "[][1]",
    "memory in one piece": "bytearray(1 << 40)",
    "memory, swallowed": "hold()",
    "recursion": "deep()",
    "time": "spin()",
    "another thread": "in_a_thread(lambda: os.system('true'))",
    "what is swallowed": "swallowing(lambda: os.system('true'))",
    "exit": "sys.exit(0)",
}
"""What a decoder must not do, and the guard must see."""

PROGRAM = """
import importlib, json, os, pickle, socket, subprocess, sys, threading, time
from dataclasses import asdict
from tests.fuzz import run
from tests.fuzz.targets import Target

def hold():
    kept = []
    try:
        while True:
            kept.append(b"x" * 10_000_000)
    except MemoryError:
        raise KeyError from None

def deep():
    return deep()

def in_a_thread(call):
    thread = threading.Thread(target=swallowing, args=(call,))
    thread.start()
    thread.join()

def swallowing(call):
    try:
        call()
    except BaseException:
        pass

def spin():
    until = time.process_time() + run.SLOW_SECONDS + 0.2
    while time.process_time() < until:
        pass

def read(body):
    text = body.decode()
    if text != "good":
        %s

target = Target("planted", [b"good"], read, typed=(KeyError, UnicodeDecodeError))
run.inputs_of = lambda target, seed: iter([b"good", b"bad"])
progress = os.open("progress", os.O_WRONLY | os.O_CREAT)
print(json.dumps(asdict(run.campaign(target, "", 2, 60.0, progress))))
"""


@pytest.mark.parametrize("what", PLANTED)
def test_the_guard_sees(what: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % PLANTED[what]],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(ROOT)])),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    report = json.loads(done.stdout) if done.returncode == 0 else {"failures": [done.stderr]}
    assert len(report["failures"]) == 1, report
    assert not (tmp_path / "planted").exists()
