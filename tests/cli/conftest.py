"""A directory of its own with a small shop, and the command line in this process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Perdure
from perdure.cli import main
from tests.support.processes import put_away

SOURCE = Path(perdure.__file__).parents[1]

SHOP = """
from __future__ import annotations
import os, sys
from datetime import date
from pathlib import Path
from perdure import Perdure, wf

app = Perdure("sqlite:///shop.db", name="shop")

@app.task
def pack(item: str) -> str:
    if Path(f"die_at_{item}").exists():
        os._exit(9)
    print("packing", item, flush=True)
    if Path(f"wait_at_{item}").exists():
        sys.stdin.readline()
    with open("effects.txt", "a") as file:
        file.write(item + "\\n")
    return f"box of {item}"

@app.workflow
def order(items: list[str], when: date | None = None) -> dict[str, object]:
    number = wf.uuid()
    wf.set_data("items", len(items))
    return {"number": number, "boxes": [pack(item) for item in items], "when": str(when)}

@app.workflow
def broken(text: str) -> None:
    raise ValueError(text)

@app.workflow
def leaves(code: int) -> None:
    raise SystemExit(code)

@app.workflow
def changing() -> str:
    if Path("changed").exists():
        return pack("other")
    pack("pen")
    return pack("ink")

@app.workflow
def echo(value: object) -> object:
    return value

number = 3
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shop:
    """Runs commands in the shop's directory, and gives its app."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self._processes: list[subprocess.Popen[str]] = []

    def __call__(self, *argv: str) -> Done:
        self._capsys.readouterr()
        code = main(argv)
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)

    def process(self, *argv: str) -> subprocess.Popen[str]:
        """The same command in a process of its own; the test's end is its end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "perdure", *argv],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            put_away(process)
        module = sys.modules.pop("shop", None)
        if module is not None:
            module.app.close()

    @property
    def module(self) -> Any:
        return importlib.import_module("shop")

    @property
    def app(self) -> Perdure:
        app: Perdure = self.module.app
        return app

    def ran(self) -> list[str]:
        """What the task bodies did, in order."""
        file = self.directory / "effects.txt"
        return file.read_text().split() if file.exists() else []


def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("PERDURE_"):
            monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    clean_environment(monkeypatch)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    importlib.invalidate_caches()
    shop = Shop(tmp_path, capsys)
    yield shop
    shop.close()
