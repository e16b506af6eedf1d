"""The deployment files: well formed, true to the schemas of their systems, and to each other."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import psycopg
import pytest
import yaml

from perdure import Perdure
from perdure.cli.commands import build
from perdure.cli.output import Output
from tests.support.stores import claim, postgres_url, run_until_idle

__all__ = ["postgres_url"]

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = "1.29"
"""The oldest version that the manifests are held to; a field of a newer one is refused."""
COMPOSE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "profiles",
    "read_only", "restart", "security_opt", "stop_grace_period", "stop_signal", "volumes",
}  # fmt: skip


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def container(document: dict[str, Any]) -> dict[str, Any]:
    (only,) = document["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def command(document: dict[str, Any]) -> list[str]:
    found: list[str] = container(document)["command"]
    return found


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


MANIFESTS = [
    pytest.param(document, id=f"{file.stem}-{document['kind']}")
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in documents(f"kubernetes/{file.name}")
]
DEPLOYMENTS = {
    each["metadata"]["name"]: each
    for name in ("worker", "worker-gpu")
    for each in documents(f"kubernetes/{name}.yaml")
    if each["kind"] == "Deployment"
}


@pytest.mark.parametrize("document", MANIFESTS)
def test_a_manifest_fits_the_schema_of_kubernetes(document: dict[str, Any]) -> None:
    group = document["apiVersion"].partition("/")[0]
    if group in {"keda.sh", "kustomize.config.k8s.io"}:
        assert set(document) <= {"apiVersion", "kind", "metadata", "spec"} | KUSTOMIZATION
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


KUSTOMIZATION = {"namespace", "resources", "images"}


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    broken = yaml.safe_load(yaml.safe_dump(DEPLOYMENTS["worker"]))
    broken["spec"]["template"]["spec"]["containers"][0]["gracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_kustomization_names_every_manifest_that_needs_no_keda() -> None:
    (kustomization,) = documents("kubernetes/kustomization.yaml")
    files = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "keda.yaml"}
    (image,) = kustomization["images"]
    used = {container(each)["image"] for each in DEPLOYMENTS.values()}
    assert used == {image["name"]}


def test_keda_scales_a_deployment_that_is_there_by_a_secret_that_is_used() -> None:
    authentication, scaled = documents("kubernetes/keda.yaml")
    target = DEPLOYMENTS[scaled["spec"]["scaleTargetRef"]["name"]]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (secret,) = authentication["spec"]["secretTargetRef"]
    (variable,) = container(target)["env"]
    asked = variable["valueFrom"]["secretKeyRef"]
    assert (secret["name"], secret["key"]) == (asked["name"], asked["key"])
    assert trigger["metadata"]["targetQueryValue"] == option(command(target), "--concurrency")
    queue = option(command(target), "--queues")
    assert f"'{queue}'" in trigger["metadata"]["query"]
    assert scaled["metadata"]["namespace"] == authentication["metadata"]["namespace"]


@pytest.mark.parametrize("name", ["migrate", "worker", "worker-gpu"])
def test_no_service_of_the_cluster_sets_a_variable_that_looks_like_a_setting(name: str) -> None:
    pod = documents(f"kubernetes/{name}.yaml")[0]["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_is_given_longer_to_end_than_its_worker_waits(name: str) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    grace = float(option(command(DEPLOYMENTS[name]), "--grace-period"))
    assert pod["terminationGracePeriodSeconds"] > grace


def test_compose_services_fit_together() -> None:
    (compose,) = documents("compose.yaml")
    services = compose["services"]
    for name, service in services.items():
        assert set(service) <= COMPOSE_KEYS, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert how["condition"] in {"service_healthy", "service_completed_successfully"}
            assert how["condition"] != "service_healthy" or "healthcheck" in services[needed]
    worker = services["worker"]
    grace = float(option(worker["command"], "--grace-period"))
    assert float(worker["stop_grace_period"].removesuffix("s")) > grace
    named = {volume.partition(":")[0] for volume in services["postgres"]["volumes"]}
    assert named == set(compose["volumes"])


def test_the_image_copies_what_is_there_and_runs_what_the_manifests_run() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (copied,) = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert (DEPLOY / copied).is_dir()
    assert 'CMD ["perdure", "worker", "-A", "shop:app"]' in text
    assert (DEPLOY / copied / "shop.py").is_file()
    uids = {
        each["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        for each in DEPLOYMENTS.values()
    }
    assert uids == {int(uid) for uid in re.findall(r"^USER (\d+)$", text, re.MULTILINE)}


def test_every_file_named_in_the_readme_is_there() -> None:
    text = (DEPLOY / "README.md").read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (DEPLOY / link).exists()] == []


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("PERDURE_DATABASE_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    spec = importlib.util.spec_from_file_location("shop", DEPLOY / "app" / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)
    spec.loader.exec_module(module)
    yield module
    module.app.close()


def test_the_app_runs_where_workers_are(shop: ModuleType) -> None:
    invocation = shop.order.start("pen")
    assert run_until_idle(shop.app) > 0
    assert "a parcel with a pen" in invocation.result(10)
    queues = {shop.app.client.latest(info.invocation_id).queue for info in shop.app.tasks()}
    assert queues == {"gpu", "default"}


def test_the_query_of_keda_gives_the_depth_of_the_queue(
    shop: ModuleType, postgres_url: str
) -> None:
    _, scaled = documents("kubernetes/keda.yaml")
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"].encode()

    def depth() -> int:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        found: int = row[0]
        return found

    with Perdure(postgres_url, name="shop", local_worker=False) as app:
        assert app.queues() == []
        assert depth() == 0

        @app.task(name="draw_label", queue="gpu")
        def draw_label(item: str) -> str:
            return item

        for delay in (0, 0, 3600):
            draw_label.options(delay=delay).start("pen")
        draw_label.options(queue="cpu").start("pen")
        assert depth() == 2
        assert len(claim(app, limit=1, queues=frozenset({"gpu"})).records) == 1
        assert depth() == 2
        assert run_until_idle(app) == 2
        assert depth() == 1


@pytest.mark.parametrize(
    "argv",
    [
        *(command(each) for each in DEPLOYMENTS.values()),
        *(
            service["command"]
            for service in documents("compose.yaml")[0]["services"].values()
            if "command" in service
        ),
        command(documents("kubernetes/migrate.yaml")[0]),
    ],
    ids=" ".join,
)
def test_every_command_is_one_that_perdure_has(argv: list[str]) -> None:
    assert argv[0] == "perdure"
    function, bound, _ = build(Output()).parse_args(argv[1:], exit_on_error=False)
    assert callable(function)
    assert bound.arguments
