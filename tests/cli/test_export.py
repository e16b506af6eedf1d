"""`perdure workflow export`: what it prints replays in a test, with no database."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.testing import replay_history
from tests.cli.conftest import Shop


def test_what_is_exported_replays(shop: Shop, tmp_path: Path) -> None:
    shop.module.order.options(id="o1").start(["pen", "ink"]).result()
    with pytest.raises(ValueError, match="no ink"):
        shop.module.broken.options(id="b1").start("no ink").result()
    shop.app.close()
    for name, workflow in (("o1", shop.module.order), ("b1", shop.module.broken)):
        done = shop("workflow", "export", name, "-A", "shop")
        assert done.code == 0, done.err
        file = tmp_path / f"{name}.json"
        file.write_text(done.out, "utf-8")
        assert replay_history(file, workflow).finished


def test_what_cannot_be_exported_is_told(shop: Shop) -> None:
    shop.module.pack.options(id="p1").start("pen").result()
    shop.app.close()
    task = shop("workflow", "export", "p1", "-A", "shop")
    assert (task.code, task.out) == (1, "")
    assert "is a task" in task.err
    assert shop("workflow", "export", "none", "-A", "shop").code == 3
