"""The workflow that `perdure demo` kills: an order is charged, packed and shipped.

It is an ordinary script. Run it, kill it, run it again: there is nothing in it about going on.

    python -m perdure.cli.demo_order      # in an empty directory; press Enter whenever a task waits

Tasks do what tasks are for, effects outside: each writes to `effects.jsonl` when it begins and when
it is done. What they give back is different on every run, like the world. A task is at work until a
line comes on stdin, so the demo decides how far the order gets, and not the speed of the machine.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from perdure import Perdure, wf

ORDER_ID = "order-42"
ITEMS = ["pen", "ink", "paper"]
DATABASE = "demo.db"
EFFECTS = "effects.jsonl"

# The lease matters only where the system cannot tell that a process is gone.
app = Perdure(f"sqlite:///{DATABASE}", name="demo", lease=5.0)


def tell(task: str, event: str, **more: str) -> None:
    """Add one line to the file of effects."""
    line = {"pid": os.getpid(), "task": task, "event": event, **more}
    with Path(EFFECTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def work(task: str, number: str) -> str:
    """Do some work outside: not to be undone, and not to be done twice if it is recorded."""
    key = wf.idempotency_key()  # the same on every attempt of this task
    tell(task, "began", key=key, order_number=number)
    sys.stdin.readline()
    result = f"{task}: {secrets.token_hex(4)}"
    tell(task, "done", key=key, result=result)
    return result


@app.task(name="charge")
def charge(number: str, cents: int) -> str:
    """Take the money."""
    return work(f"charge {cents} cents", number)


@app.task(name="pack")
def pack(number: str, item: str) -> str:
    """Put one thing into a box."""
    return work(f"pack {item}", number)


@app.task(name="ship")
def ship(number: str, boxes: list[str], door: int) -> str:
    """Send the boxes away."""
    return work(f"ship {len(boxes)} boxes from door {door}", number)


@app.workflow(name="order")
def order(items: list[str], cents: int) -> dict[str, object]:
    """Charge, wait, pack, ship. Plain Python; `wf` makes the rest repeatable."""
    number = wf.uuid()
    door = 1 + int(wf.random() * 9)
    receipt = charge(number, cents)
    wf.sleep(0.5)
    boxes = [pack(number, item) for item in items]
    return {"number": number, "receipt": receipt, "shipped": ship(number, boxes, door)}


if __name__ == "__main__":
    print(json.dumps(order.options(id=ORDER_ID).start(ITEMS, 1999).result()))
