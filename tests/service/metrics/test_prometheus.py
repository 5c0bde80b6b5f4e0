"""Compare the exported metrics with the calls made and with docs/reference/metrics.md."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.admin import AdminPort
from support.service import Running

from toolkit.api.return_codes import ReturnCode, kind_of
from toolkit.service.http.handler import ENDPOINTS
from toolkit.service.metrics.counters import Counters
from toolkit.service.metrics.prometheus import StoreState, render

DOCS = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text(encoding="utf-8")


def test_calls_are_counted_by_endpoint_and_return_code(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0")
    made: Counter[tuple[str, int]] = Counter()
    for row in ReturnCode:
        got = service.post("/v1/codes", {"mobile": f"199000{int(row)}", "temp_id": 1})
        made["send", got.code] += 1
    for _ in range(3):
        msg_id = service.send()
        code = service.peek(msg_id)
        made["send", 50000] += 1
        made["peek", 50000] += 1
        made["verify", service.verify(msg_id, "x" + code).code] += 1
        made["verify", service.verify(msg_id, code).code] += 1
    made["sandbox", service.call("GET", "/sandbox/state", headers=service.auth).code] += 1
    made["other", service.call("GET", "/").code] += 1
    made["other", service.call("FETCH", "/v1/codes").code] += 1
    samples = AdminPort(service.admin_url).samples()["smscode_calls_total"]
    told = {(it["endpoint"], int(it["return_code"])): value for it, value in samples if value}
    assert told == made
    assert {it["kind"] for it, _ in samples if it["return_code"] == "50014"} == {kind_of(50014)}
    assert {it["endpoint"] for it, _ in samples} == set(ENDPOINTS)


def test_every_call_of_the_api_is_exported_before_the_first_one(start: Callable[..., Running]) -> None:
    samples = AdminPort(start("--admin-port", "0").admin_url).samples()
    calls = {
        (it["endpoint"], int(it["return_code"]), it["kind"]): value for it, value in samples["smscode_calls_total"]
    }
    assert calls == {(endpoint, int(code), code.kind): 0 for endpoint in ("send", "verify") for code in ReturnCode}
    counts = samples["smscode_call_duration_seconds_count"]
    assert [(it["endpoint"], value) for it, value in counts] == [("send", 0), ("verify", 0)]
    assert ({"app_key": "unknown"}, 0) in samples["smscode_failed_authentications_total"]
    assert len(samples["smscode_failed_authentications_total"]) == 2


def test_latencies_are_counted_by_endpoint(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0", "--latency", "20ms")
    for _ in range(4):
        service.send()
    admin = AdminPort(service.admin_url)
    assert admin.value("smscode_call_duration_seconds_count", endpoint="send") == 4
    assert admin.value("smscode_call_duration_seconds_sum", endpoint="send") >= 4 * 0.02
    assert admin.value("smscode_call_duration_seconds_bucket", endpoint="send", le="0.01") == 0
    assert admin.value("smscode_call_duration_seconds_bucket", endpoint="send", le="+Inf") == 4


def test_commits_balance_and_backlog_are_exported(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0")
    admin = AdminPort(service.admin_url)
    balance, commits = admin.value("smscode_balance_messages"), admin.value("smscode_commit_calls_count")
    for _ in range(3):
        service.send()
    assert admin.value("smscode_balance_messages", app_key=service.app_key) == balance - 3
    assert admin.value("smscode_delivery_backlog") == 3
    assert admin.value("smscode_commit_calls_count") == commits + 3
    assert admin.value("smscode_store_up") == 1
    assert admin.value("smscode_calls_waiting") == admin.value("smscode_calls_in_flight") == 0


def test_an_injected_error_counts_for_its_endpoint(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0", "--error-share", "1")
    assert service.post("/v1/codes", {}).code == 50019
    assert AdminPort(service.admin_url).value("smscode_calls_total", endpoint="send", return_code="50019") == 1


def test_a_dropped_call_counts_as_unanswered(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0", "--drop-share", "1")
    with pytest.raises(ConnectionError):
        service.send()
    admin = AdminPort(service.admin_url)
    assert admin.value("smscode_calls_unanswered_total") == 1
    assert admin.value("smscode_calls_total") == admin.value("smscode_calls_in_flight") == 0


def test_a_scraper_can_ask_for_open_metrics(start: Callable[..., Running]) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    status, media_type, text = AdminPort(start("--admin-port", "0").admin_url).get("/metrics", Accept=accept)
    assert (status, media_type.split(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


def filled() -> Counters:
    counters = Counters(unanswered=1, in_flight=2, waiting=3, lost_lines=4)
    counters.count("send", ReturnCode.SUCCESS, 0.001)
    counters.count("send", ReturnCode.NO_MONEY, 20.0)
    counters.batches.observe(32)
    counters.failed_auths["key"] += 7
    counters.attempts["webhook"] += 6
    counters.deliveries["webhook", "delivered"] += 5
    return counters


def test_the_counters_of_several_processes_add_up() -> None:
    whole = Counters()
    for _ in range(2):
        whole.add(pickle.loads(pickle.dumps(filled())))
    assert whole.calls == {("send", ReturnCode.SUCCESS): 2, ("send", ReturnCode.NO_MONEY): 2}
    assert whole.latencies["send"].counts[1] == whole.latencies["send"].counts[-1] == 2
    assert whole.latencies["send"].total == pytest.approx(40.002)
    assert whole.failed_auths == {"key": 14}
    assert (whole.batches.total, whole.attempts, whole.deliveries) == (
        64,
        {"webhook": 12},
        {("webhook", "delivered"): 10},
    )
    assert (whole.unanswered, whole.in_flight, whole.waiting, whole.lost_lines) == (2, 4, 6, 8)


def test_a_value_at_a_bound_belongs_to_the_bucket_below() -> None:
    text = render(filled(), None)[0].decode()
    assert 'smscode_call_duration_seconds_bucket{endpoint="send",le="0.0005"} 0.0' in text
    assert 'smscode_call_duration_seconds_bucket{endpoint="send",le="0.001"} 1.0' in text
    assert 'smscode_call_duration_seconds_bucket{endpoint="send",le="10.0"} 1.0' in text
    assert 'smscode_call_duration_seconds_bucket{endpoint="send",le="+Inf"} 2.0' in text


def test_the_other_metrics_are_exported_if_the_store_does_not_answer() -> None:
    text = render(filled(), None)[0].decode()
    assert "smscode_store_up 0.0" in text
    assert "smscode_balance" not in text
    assert 'smscode_deliveries_total{provider="webhook",state="delivered"} 5.0' in text


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    text = render(filled(), StoreState({"key": 1}, 2))[0].decode()
    families = [it for it in text_string_to_metric_families(text) if it.name.startswith("smscode_")]
    told = re.findall(r"^\| `(smscode_\w+)` \| (\w+) \| (.*?) \|", DOCS, re.MULTILINE)
    shown = []
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        shown.append((name, family.type, ", ".join(labels)))
    assert sorted(told) == sorted(shown)
