"""Debian's Prometheus scrapes a service and a load test; alerts and dashboards are tried with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml
from support.programs import require
from support.prometheus import Prometheus, scraping
from support.receiver import SECRET, documented_receiver
from support.redis import free_port
from support.service import Running, running

from toolkit.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
JOBS = {"service": "smscode", "load-test": "smscode-load"}


def expressions(name: str) -> list[str]:
    """Return the expressions of a dashboard, with its variables filled in."""
    dashboard = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [it.replace("$job", JOBS[name]).replace("$__rate_interval", "10s") for it in found]


@contextmanager
def loading(service: Running, folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Load a service with two workers until the block ends."""
    environment = os.environ | {
        "SMSCODE_BASE_URL": service.url,
        "SMSCODE_APP_KEY": service.app_key,
        "SMSCODE_MASTER_SECRET": service.master_secret,
        "SMSCODE_TEMP_ID": str(service.temp_id),
    }
    words = ["load", "--rate", "10", "--duration", "20m", "--workers", "2", "--metrics-port", str(port)]
    words += ["--allow-target", "127.0.0.1", "--max-messages", "1000000", "--threshold", "p99(send.caller_ms) < 60000"]
    command = [sys.executable, "-m", "toolkit", *words]
    with subprocess.Popen(command, env=environment, cwd=folder, text=True, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=240)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a service with a provider, and a load test of it."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    with ExitStack() as stack:
        settings = stack.enter_context(pytest.MonkeyPatch.context())
        webhook, _ = stack.enter_context(documented_receiver(folder))
        settings.setenv("SMSCODE_WEBHOOK_URL", webhook)
        settings.setenv("SMSCODE_WEBHOOK_SECRET", SECRET)
        service = stack.enter_context(running("--admin-port", "0", "--provider", "webhook"))
        stack.enter_context(loading(service, folder, port))
        jobs = {"smscode": urlsplit(service.admin_url).netloc, "smscode-load": f"127.0.0.1:{port}"}
        yield stack.enter_context(scraping(folder, jobs, ALERTS))


def test_both_are_scraped_and_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    for job in JOBS.values():
        prometheus.wait_for(f'up{{job="{job}"}} == 1')
    prometheus.wait_for('smscode_load_calls_total{outcome="50000"} > 0')
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {it["name"] for it in rules} == set(
        re.findall(r"(?:alert|record): (\S+)", ALERTS.read_text(encoding="utf-8"))
    )
    assert {it["health"] for it in rules} <= {"ok", "unknown"}


@pytest.mark.parametrize("name", JOBS)
def test_every_expression_of_a_dashboard_returns_data(prometheus: Prometheus, name: str) -> None:
    found = expressions(name)
    assert len(found) > 15
    for expression in found:
        prometheus.wait_for(expression)


def test_the_share_of_failed_calls_is_known_although_no_call_failed(prometheus: Prometheus) -> None:
    (formula,) = re.findall(
        r"^    (sum\(rate.*)$", (DEPLOY.parent / "docs/reference/metrics.md").read_text(), re.MULTILINE
    )
    assert set(prometheus.wait_for(formula.replace("5m", "10s")).values()) == {0.0}
    assert set(prometheus.wait_for("smscode:server_errors:ratio_rate5m").values()) == {0.0}


def test_one_endpoint_has_the_calls_of_all_workers(prometheus: Prometheus) -> None:
    assert prometheus.wait_for("smscode_load_workers == 2")
    budget = "smscode_load_budget_messages_left + smscode_load_messages_total"
    assert set(prometheus.wait_for(budget).values()) == {1_000_000}
    counted = "sum(smscode_load_calls_total) - sum(smscode_load_caller_seconds_count)"
    assert set(prometheus.wait_for(counted).values()) == {0.0}


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    tried = {(it["alertname"], bool(it["exp_alerts"])) for case in cases for it in case["alert_rule_test"]}
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert sorted(tried) == sorted((alert, fires) for alert in alerts for fires in (False, True))


def test_the_commands_that_alerts_name_exist() -> None:
    named = re.findall(r"`smscode (\w+) (\w+)", ALERTS.read_text(encoding="utf-8"))
    assert named
    context = typer.main.get_command(app).make_context("smscode", ["app"])
    for group, command in named:
        assert command in context.command.commands[group].commands


@pytest.mark.parametrize(
    "words",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_accepts(words: tuple[str, ...]) -> None:
    command = [require("promtool", "prometheus"), *words]
    done = subprocess.run(command, cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
