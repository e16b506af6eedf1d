"""Settings: arguments over environment over perdure.toml over pyproject.toml over defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import Perdure
from perdure.api.settings import load_settings
from perdure.errors import ConfigurationError, PerdureError


def load(tmp_path, given=None, environ=None, perdure=None, pyproject=None):
    if perdure is not None:
        (tmp_path / "perdure.toml").write_text(perdure)
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    return load_settings(given or {}, environ=environ or {}, directory=tmp_path)


def test_defaults(tmp_path):
    settings = load(tmp_path)
    assert settings.database_url == "sqlite:///perdure.db"
    assert settings.name == "perdure"
    assert settings.synchronous == "full"
    assert settings.local_worker is True


def test_precedence(tmp_path):
    layers = {
        "pyproject": '[tool.perdure]\nname = "pyproject"\n',
        "perdure": 'name = "file"\n',
        "environ": {"PERDURE_NAME": "environment"},
        "given": {"name": "argument", "grace": None},
    }
    used = {}
    for layer, expected in zip(
        layers, ["pyproject", "file", "environment", "argument"], strict=True
    ):
        used[layer] = layers[layer]
        assert load(tmp_path, **used).name == expected


def test_layers_are_merged_key_by_key(tmp_path):
    settings = load(
        tmp_path,
        given={"grace": 0.5},
        environ={"PERDURE_CONCURRENCY": "3", "PERDURE_LOCAL_WORKER": "false"},
        perdure='lease = 7\napp = "module:app"\n',
        pyproject='[tool.perdure]\nname = "shop"\nlease = 9\n[tool.other]\nx = 1\n',
    )
    assert (settings.grace, settings.concurrency, settings.lease) == (0.5, 3, 7.0)
    assert (settings.name, settings.local_worker) == ("shop", False)


@pytest.mark.parametrize(
    ("layers", "where"),
    [
        ({"perdure": "colour = 1"}, "perdure.toml"),
        ({"pyproject": "[tool.perdure]\ncolour = 1"}, "pyproject.toml"),
        ({"environ": {"PERDURE_COLOUR": "1"}}, "the environment"),
        ({"perdure": "grace = 'long'"}, "perdure.toml"),
        ({"environ": {"PERDURE_CONCURRENCY": "many"}}, "the environment"),
        ({"given": {"synchronous": "off"}}, "Perdure(...)"),
        ({"given": {"concurrency": 0}}, "concurrency"),
        ({"environ": {"PERDURE_CONCURRENCY": "many"}}, "concurrency='many'"),
        ({"environ": {"PERDURE_CONCURRENCY": "0"}}, "the environment"),
        ({"environ": {"PERDURE_DATABSE_URL": "x"}}, "Known settings: database_url"),
        ({"given": {"lease": float("nan")}}, "lease"),
        ({"given": {"lease": float("inf")}}, "lease"),
        ({"given": {"grace": 1e300}}, "grace"),
        ({"given": {"grace": -1.0}}, "grace"),
        ({"given": {"name": ""}}, "name"),
        ({"perdure": "not toml ["}, "perdure.toml"),
        ({"pyproject": "[tool]\nperdure = 3"}, "pyproject.toml"),
        ({"pyproject": "tool = 3"}, "pyproject.toml"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_layer(tmp_path, layers, where):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **layers)
    assert where in str(caught.value)


def test_the_name_of_the_app_fits_into_the_backend(tmp_path):
    for name in ("x" * 256, "a\nb"):
        with pytest.raises(PerdureError, match="name"):
            load(tmp_path, given={"name": name})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x",
        "memory://x",
        "mysql://x/y",
        "postgres",
        "sqlite3:///x",
        "sqlite:///shop.db?mode=ro",
    ],
)
def test_urls_that_cannot_be_used(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        Perdure(url)
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_told_as_it_was_written_unless_it_may_hold_a_password():
    for url, shown in (
        ("shop.db", "'shop.db'"),
        ("", "''"),
        ("mysql://a:s@h/x", "'mysql://...'"),
        ("sqlite:///shop.db?mode=ro", "'sqlite:///shop.db'"),
        ("sqlite:///a:s@h/x?mode=ro", "'sqlite:///...'"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            Perdure(url)
        assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql:u:secret_h_sql://me/x", "'mysql:...'"),
        ("postgresqlhost/db?password=secret", "'postgresqlhost/db?...'"),
        ("sqlite:/db?password=secret", "'sqlite:/db?...'"),
    ],
)
def test_what_may_be_a_password_is_not_told(url: str, told: str):
    with pytest.raises(ConfigurationError) as caught:
        Perdure(url)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host/shop",
        "postgresql://me:s3/cr:et@@host/shop",
        "postgresql://host/shop?user=me&password=s3cret",
        "postgresql://me:s3cret@one/shop postgresql://me:s3cret@two/shop",
    ],
)
def test_settings_are_shown_without_a_password(url: str):
    shown = repr(load_settings({"database_url": url, "name": "shop", "concurrency": 7}))
    assert "s3" not in shown
    assert "cr" not in shown.replace("crash_limit", "").replace("concurrency", "")
    assert all(part in shown for part in ("postgresql://", "/shop", "***", "concurrency=7"))


def test_urls_that_can(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for url, file in (
        ("sqlite:///relative.db", Path("relative.db")),
        (f"sqlite:///{tmp_path / 'absolute.db'}", tmp_path / "absolute.db"),
    ):
        with Perdure(url) as app:
            assert app.workflows() == []
        assert file.exists()
    with Perdure("memory://") as app:
        assert app.workflows() == []


def test_the_environment_names_the_database(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERDURE_DATABASE_URL", "sqlite:///by-environment.db")
    with Perdure() as app:
        app.workflows()
    assert (tmp_path / "by-environment.db").exists()


def test_the_text_of_an_app_shows_no_url(tmp_path):
    app = Perdure(f"sqlite:///{tmp_path}/secret.db", name="shop")
    assert "secret" not in repr(app)
    assert "shop" in repr(app)
