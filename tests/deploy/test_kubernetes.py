"""The Kubernetes manifests keep to the schemas of their kinds, and name options and variables that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from toolkit.cli import app
from toolkit.load_test.plan.options import declared
from toolkit.settings import ServiceSettings

KUBERNETES = Path(__file__).parents[2] / "deploy/kubernetes"


def variables() -> dict[str, str]:
    """Return the variables of the load test."""
    text = (KUBERNETES / "load-test/kustomization.yaml").read_text(encoding="utf-8")
    literals = yaml.safe_load(text)["configMapGenerator"][0]["literals"]
    return dict(it.split("=", 1) for it in literals)


def documents() -> list[tuple[str, Any]]:
    found = sorted(KUBERNETES.rglob("*.yaml"))
    return [(f"{path.parent.name}/{path.name}", it) for path in found for it in yaml.safe_load_all(path.read_text())]


MANIFESTS = [(name, it) for name, it in documents() if it["kind"] != "Kustomization"]


@pytest.mark.parametrize("manifest", [it for _, it in MANIFESTS], ids=[f"{n} {it['kind']}" for n, it in MANIFESTS])
def test_a_manifest_keeps_to_the_schema_of_its_kind(manifest: Any) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_every_image_is_a_parameter_and_every_file_is_listed() -> None:
    for name, kustomization in documents():
        if kustomization["kind"] != "Kustomization":
            continue
        folder = KUBERNETES / name.partition("/")[0]
        given = {it["name"] for it in kustomization["images"]}
        listed = kustomization["resources"]
        assert {path.name for path in folder.glob("*.yaml")} == {*listed, "kustomization.yaml"}
        texts = [(folder / it).read_text(encoding="utf-8") for it in listed]
        assert {it for text in texts for it in re.findall(r"image: (\S+)", text)} == given


def test_the_service_is_started_with_options_that_the_program_has() -> None:
    (deployment,) = (it for _, it in MANIFESTS if it["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    name, *words = container["args"]
    context = typer.main.get_command(app).make_context("smscode", [name, *words])
    known = {it for option in context.command.commands[name].params for it in option.opts}
    assert {word.partition("=")[0] for word in words} <= known
    variables_ = {f"SMSCODE_{field.upper()}" for field in ServiceSettings.model_fields}
    assert {it["name"] for it in container["env"]} <= variables_


def test_no_service_sets_a_variable_of_the_program() -> None:
    # The Service named smscode makes Kubernetes set SMSCODE_PORT=tcp://… in the pods of its namespace.
    pods = [it["spec"]["template"]["spec"] for _, it in MANIFESTS if "template" in it.get("spec", {})]
    ours = [pod for pod in pods if any(it["image"] == "sms-code-toolkit" for it in pod["containers"])]
    assert [pod.get("enableServiceLinks") for pod in ours] == [False] * 3


def test_the_variables_of_the_load_test_are_those_of_the_load_generator() -> None:
    known = {it.variable for it in declared().values()} | {"LOCUST_HOST", "LOCUST_EXPECT_WORKERS"}
    given = variables()
    assert given.keys() <= known
    jobs = {it["metadata"]["name"]: it for _, it in MANIFESTS if it["kind"] == "Job"}
    master, workers = jobs["smscode-load-master"], jobs["smscode-load-worker"]
    assert workers["spec"]["parallelism"] == workers["spec"]["completions"] == int(given["LOCUST_EXPECT_WORKERS"])
    assert master["spec"]["backoffLimit"] == 0  # a load test is not repeated: it costs messages
