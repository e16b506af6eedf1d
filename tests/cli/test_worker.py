"""`perdure worker` that cannot start: one clear message, and nothing is claimed or made."""

from __future__ import annotations

import logging
import re

import pytest

from perdure import Perdure
from perdure.cli.worker import warn_of_strange_queues
from tests.cli.conftest import Shop


def refuse(shop: Shop, *argv: str) -> str:
    """The message of a usage error."""
    done = shop("worker", *argv)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    return done.err


def test_it_needs_an_app(shop: Shop) -> None:
    assert "-A MODULE:ATTR" in refuse(shop)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere:app", "nowhere"),
        ("shop:nothing", "Its apps: app."),
        ("shop:number", "not a Perdure app"),
    ],
)
def test_it_names_what_is_wrong_with_the_app(shop: Shop, target: str, words: str) -> None:
    assert words in refuse(shop, "-A", target)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\nimport sys; sys.exit(3)\n", "SystemExit: 3 at .*broken_shop.py:2"),
        ("x = 1\ndef f(:\n    pass\n", "SyntaxError: .* at .*broken_shop.py:2"),
    ],
)
def test_a_module_that_ends_or_is_no_python_is_named(shop: Shop, source: str, words: str) -> None:
    (shop.directory / "broken_shop.py").write_text(source)
    done = shop("worker", "-A", "broken_shop:app")
    assert done.code == 1
    assert re.search(words, done.err), done.err
    assert "could not be imported" in done.err


def test_a_module_that_sets_up_its_app_wrongly_is_named_with_its_own_line(shop: Shop) -> None:
    source = "from perdure import Perdure\napp = Perdure('sqlite:///x.db', concurrency=0)\n"
    (shop.directory / "broken_shop.py").write_text(source)
    message = refuse(shop, "-A", "broken_shop:app")
    assert "concurrency=0" in message
    assert "broken_shop.py:2. " in message
    assert "settings.py" not in message


def test_a_queue_that_nothing_goes_to_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = Perdure("memory://")
    app.queue("mail", rate=(1, 1.0))
    app.task(name="train", queue="gpu")(lambda: None)
    warn_of_strange_queues(app, ["default", "mail", "gpu"])
    assert caplog.text == ""
    warn_of_strange_queues(app, ["gpu", "gpuu"])
    assert "'gpuu' is served" in caplog.text
    assert "they name: default, gpu, mail." in caplog.text


def test_memory_is_refused(shop: Shop) -> None:
    (shop.directory / "lonely.py").write_text(
        "from perdure import Perdure\napp = Perdure('memory://')\n"
    )
    message = refuse(shop, "-A", "lonely:app")
    assert "memory://" in message
    assert "Name a database" in message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--concurrency", "0"), "concurrency"),
        (("--processes", "0"), "processes"),
        (("--grace-period", "-1"), "grace"),
        (("--log-level", "loud"), "debug, info, warning, error"),
        (("--queues", "a,,b"), "queue"),
        (("--queues", ""), "queue"),
    ],
)
def test_options_are_checked(shop: Shop, argv: tuple[str, str], words: str) -> None:
    assert words in refuse(shop, "-A", "shop:app", *argv).lower()
    assert not (shop.directory / "shop.db").exists()


def test_a_server_that_cannot_be_reached_is_told_without_its_password(shop: Shop) -> None:
    (shop.directory / "far.py").write_text(
        "from perdure import Perdure\n"
        "app = Perdure('postgresql://ann:s3cret@127.0.0.1:1/orders?connect_timeout=2')\n"
    )
    done = shop("worker", "-A", "far:app")
    assert done.code == 5
    assert "127.0.0.1" in done.err
    assert "s3cret" not in done.err
    logger = logging.getLogger("perdure")
    assert (logger.level, [*map(type, logger.handlers)]) == (0, [logging.NullHandler])


def test_a_database_that_is_none_is_told(shop: Shop) -> None:
    (shop.directory / "shop.db").write_text("no database at all, but a text of some length\n" * 9)
    done = shop("worker", "-A", "shop:app")
    assert done.code == 5
    assert "shop.db" in done.err
