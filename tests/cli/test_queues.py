"""`perdure queue list`: what is ready, scheduled and running, with and without the app's code."""

from __future__ import annotations

from tests.cli.conftest import Shop

URL = "sqlite:///shop.db"


def test_a_list_of_queues(shop: Shop) -> None:
    app, module = shop.app, shop.module
    app.queue("gpu", concurrency=2, worker_concurrency=1, key_concurrency=3, rate=(5, 60))
    module.order.options(queue="gpu").start(["pen"])
    module.order.options(queue="gpu", delay=3600).start(["pen"])
    module.order.start(["pen"])
    app.close()

    done = shop("queue", "list", "-A", "shop")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0][:4] == ["QUEUE", "READY", "SCHEDULED", "RUNNING"]
    assert lines[1][:4] == ["default", "1", "0", "0"]
    assert lines[2][:4] == ["gpu", "1", "1", "0"]
    assert done.out.splitlines()[2].endswith("2 at a time, 1 per worker, 3 per key, 5 in 1 min 0 s")

    default, gpu = shop("queue", "list", "-A", "shop", "--json").json
    assert default["oldest_seconds"] >= 0
    assert "limits" not in default
    assert (gpu["ready"], gpu["scheduled"], gpu["running"]) == (1, 1, 0)
    assert gpu["limits"] == {
        "concurrency": 2,
        "worker_concurrency": 1,
        "key_concurrency": 3,
        "rate": [5, 60.0],
    }


def test_a_declared_queue_is_listed_when_it_is_empty(shop: Shop) -> None:
    shop.app.queue("gpu")
    assert shop("run", "shop:echo", "-i", "[1]").code == 0
    (gpu,) = shop("queue", "list", "-A", "shop", "--json").json
    assert (gpu["queue"], gpu["ready"], gpu["oldest_seconds"]) == ("gpu", 0, None)


def test_queues_need_no_code(shop: Shop) -> None:
    shop.module.order.start(["pen"])
    shop.app.close()
    named = ("--url", URL, "--app-name", "shop")
    (default,) = shop("queue", "list", *named, "--json").json
    assert (default["queue"], default["ready"]) == ("default", 1)
    other = shop("queue", "list", "--url", URL)
    assert (other.code, other.out) == (0, "")
    assert "--app-name" in other.err
