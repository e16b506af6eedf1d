"""Real processes that die at the commit of a user's transaction: before it, and after it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sqlite3, sys
from perdure import Perdure, wf

class Dying(sqlite3.Connection):
    def commit(self):
        if os.environ["DIES"] == "before" and self.in_transaction:
            os._exit(9)
        super().commit()
        if os.environ["DIES"] == "after":
            os._exit(9)

app = Perdure("sqlite:///state.db")
orders = app.database(lambda: sqlite3.connect("orders.db", factory=Dying))

@app.transaction(orders)
def charge(tx, order_id):
    tx.execute("INSERT INTO charges VALUES (?, ?)", (order_id, os.getpid()))
    return os.getpid()

@app.workflow
def order(order_id):
    return charge(order_id)

if __name__ == "__main__":
    with app:
        print(order.options(id="order-42").start("42").result(30))
"""


def run(folder: Path, dies: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "DIES": dies},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("dies", "survives"), [("before", False), ("after", True)])
def test_the_rows_are_there_once(tmp_path: Path, dies: str, survives: bool) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with sqlite3.connect(tmp_path / "orders.db") as connection:
        connection.execute("CREATE TABLE charges (order_id TEXT, pid INTEGER)")
    first = run(tmp_path, dies)
    assert first.returncode == 9, first.stderr
    found = connection.execute("SELECT pid FROM charges").fetchall()
    assert bool(found) == survives
    second = run(tmp_path, "never")
    assert second.returncode == 0, second.stderr
    rows = connection.execute("SELECT order_id, pid FROM charges").fetchall()
    connection.close()
    assert rows == [("42", int(second.stdout))], "the row of the process that is told of"
    if survives:
        assert [rows[0][1:]] == found
