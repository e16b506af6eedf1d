"""A small app to try the deployment with: one workflow, a task on a queue of its own."""

from __future__ import annotations

from perdure import Perdure, wf

# The database comes from PERDURE_DATABASE_URL; results are waited for, not run, in this process.
app = Perdure(name="shop", local_worker=False)
app.queue("gpu", worker_concurrency=1)


@app.task(queue="gpu")
def draw_label(item: str, number: str) -> str:
    """Stand for something slow that needs a machine of its own."""
    return f"{item} no. {number[:8]}"


@app.task(key=lambda item, *_: item)
def pack(item: str, label: str) -> str:
    """Pack one thing; equal items are packed one after the other."""
    return f"a parcel with a {item}, labelled {label!r}"


@app.workflow
def order(item: str) -> str:
    """Label and pack."""
    return pack(item, draw_label(item, wf.uuid()))
