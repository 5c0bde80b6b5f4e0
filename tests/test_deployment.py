"""What is in ``deploy/`` and beside it is valid for the programs that read it. ``.ci/image`` builds the image."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from support.programs import require

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy/smscode.service"
MOST_EXPOSURE = 15  # of 100, by systemd's own measure


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_schema(name: str, *files: str) -> None:
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *files)


def test_the_workflows_are_valid_and_pass_no_secret_to_others() -> None:
    check_schema("github-workflows", *map(str, sorted((ROOT / ".github/workflows").iterdir())))
    run(Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", ".github")


def test_the_compose_file_is_valid_and_its_files_exist() -> None:
    check_schema("compose-spec", "compose.yaml")
    text = (ROOT / "compose.yaml").read_text()
    assert sorted(re.findall(r"image: (\S+)", text)) == [
        "docker.io/library/redis:7-alpine",
        "docker.io/prom/prometheus:v3.5.0",
    ]
    assert (ROOT / "deploy/prometheus/alerts.yml").exists()
    run(require("promtool", "prometheus"), "check", "config", "deploy/prometheus/compose.yml")


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text().replace("/opt/sms-code/bin/smscode", "/bin/true"))
    assert run(require("systemd-analyze", "systemd"), "verify", installed) == ""
    found = json.loads(
        run(require("systemd-analyze", "systemd"), "security", "--offline=true", "--json=short", installed)
    )
    assert {it["json_field"] for it in found if it["exposure"] and float(it["exposure"]) >= 0.5} <= {"PrivateNetwork"}
    run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", installed)


def test_the_image_holds_every_file_that_the_package_is_built_from() -> None:
    copied = set(re.findall(r"^COPY ((?:\S+ )+)\./\S*$", (ROOT / "Containerfile").read_text(), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert names >= {"pyproject.toml", "README.md", "toolkit", *build["force-include"]}
    not_ignored = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    assert not_ignored == names


def test_the_image_sets_variables_that_the_service_reads() -> None:
    named = set(re.findall(r"SMSCODE_[A-Z_]+", (ROOT / "Containerfile").read_text()))
    assert named <= set(re.findall(r"SMSCODE_[A-Z_]+", run(sys.executable, "-m", "toolkit", "serve", "--help")))
