import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.browser_charts.scripts import page_script
from toolkit.records.parquet import PARQUET_NAME, write_parquet
from toolkit.report.build import build_report
from toolkit.report.inputs import read_inputs
from toolkit.report.write_files import write_report
from toolkit.runs.thresholds import Status

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input", "rect", "path", "line", "circle"}
LOADING = ("src", "href", "xlink:href", "srcset", "poster", "data", "action", "formaction", "background", "ping")


class Page(HTMLParser):
    """A page's tags with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.styles, self.scripts, self._open = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        else:
            (self.styles if self._open and self._open[-1] == "style" else self.text).append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def references(self):
        loaded = [attributes[name] for _, attributes in self.tags for name in LOADING if attributes.get(name)]
        styles = [*self.styles, *(str(value) for _, attributes in self.tags for value in attributes.values())]
        imported = re.findall(r"url\(\s*['\"]?([^)'\"]*)|@import\s+(\S+)", " ".join(styles))
        return [*loaded, *(one or other for one, other in imported)]


@pytest.fixture(scope="module")
def path(tmp_path_factory, traffic):
    """The page of a run's folder, whose target has a name that is wider than a telephone."""
    folder = tmp_path_factory.mktemp("run")
    settings = {"target": "http://127.0.0.1:8000/" + "long/" * 60, "cap": {"messages": 5000}}
    write_parquet(traffic, folder / PARQUET_NAME)
    (folder / "run.json").write_text(json.dumps({"schema": 2, "settings": settings}), encoding="utf-8")
    return write_report(str(folder))


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_refers_to_nothing_outside_itself(page):
    assert [link for link in page.references() if not link.startswith(("data:", "#"))] == []
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    policy = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page_script().encode()).digest()).decode()
    assert policy == [f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"]
    assert page.scripts[-1] == page_script()
    assert all(script["type"] == "application/json" for script in page.named("script")[:-1])


def test_the_page_is_one_small_file_beside_the_records(path):
    assert path.stat().st_size < 3_000_000
    assert sorted(file.name for file in path.parent.iterdir()) == ["calls.parquet", "report.html", "run.json"]


def test_the_header_names_the_run_its_time_target_and_figures(run_folder, call):
    second = 1_000_000_000
    records = [call(Endpoint.SEND, 50000), call(Endpoint.SEND, 50009, latency_ns=2 * second)]
    text = write_report(run_folder(records, {"target": "http://127.0.0.1:8000"})).read_text(encoding="utf-8")
    for said in ("<h1>friday</h1>", "2026-11-06 12:00:00 UTC", "target http://127.0.0.1:8000"):
        assert said in text
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd></div>", text)[:5] == [
        ("calls", "2"),
        ("calls per second", "1.00"),
        ("OK", "50.00 %"),
        ("p99 of send, ms", "1,980"),
        ("duration", "2 s"),
    ]


def test_every_outcome_has_its_row_in_the_page(page):
    text = " ".join(page.text)
    for said in (
        "50000",
        "success",
        "请求成功",
        "50009",
        "out of freq",
        "发送超频",
        "59031",
        "timeout",
        "refused",
        "VERDICT",
    ):
        assert said in text


def test_tables_have_scoped_headers_and_scroll_in_their_own_container(page):
    heads = page.named("th")
    assert heads
    assert {head["scope"] for head in heads} == {"col", "row", "rowgroup"}
    regions = [attributes for attributes in page.named("div") if attributes.get("class", "").startswith("scroll ")]
    assert len(regions) == len(page.named("table")) > 3
    assert all(region["role"] == "region" and region["tabindex"] == "0" for region in regions)


def test_the_page_has_a_language_a_title_and_alternative_texts(page):
    assert page.named("html")[0]["lang"] == "en"
    assert "friday · SMS code report" in page.text
    pictures = [attributes for attributes in page.named("div") if attributes.get("role") == "img"]
    assert len(pictures) >= 3
    assert all(picture["aria-label"] for picture in pictures)
    assert {"viewport", "color-scheme"} <= {meta.get("name") for meta in page.named("meta")}


HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>"


def test_hostile_names_and_settings_stay_text(run_folder, call):
    records = [call(Endpoint.SEND, None, error=HOSTILE[:70], run=HOSTILE), call(Endpoint.VERIFY, 50000, run=HOSTILE)]
    folder = run_folder(records, {HOSTILE: HOSTILE, "target": HOSTILE, "list": [HOSTILE, {"a": HOSTILE}]})
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.scripts[-1] == page_script()
    assert not any("<" in data for data in page.scripts[:-1])
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert HOSTILE in " ".join(page.text)


def test_nested_settings_have_dotted_names(run_folder, call):
    settings = {"cap": {"messages": 5, "cost": None}, "tags": ["a", 1], "open_loop": True}
    html = write_report(run_folder([call(Endpoint.SEND, 50000)], settings)).read_text(encoding="utf-8")
    shown = html[html.index('<h2 id="settings"') :]
    assert re.findall(r'<th scope="row">([\w.]+)</th>\s*<td>(.*?)</td>', shown) == [
        ("cap.messages", "5"),
        ("cap.cost", "–"),
        ("tags", "[&#34;a&#34;, 1]"),
        ("open_loop", "true"),
    ]


def test_secrets_codes_and_whole_mobiles_are_not_in_the_page(run_folder, call):
    settings = {
        "master_secret": "hunter2",
        "target": {"base_url": "http://app:hunter2@127.0.0.1:8000"},
        "headers": {"Authorization": "Basic aHVudGVyMg=="},
        "mobiles": ["13800138000", 13800138000],
    }
    records = [call(Endpoint.SEND, None, error="13800138000", run="run of 13800138000")]
    html = write_report(run_folder(records, settings)).read_text(encoding="utf-8")
    assert not [secret for secret in ("hunter2", "aHVudGVyMg", "13800138000") if secret in html]
    assert "1380013****" in html


def test_calls_of_several_runs_are_named_by_their_folder(run_folder, call):
    folder = run_folder([call(Endpoint.SEND, 50000, run="a"), call(Endpoint.SEND, 50000, run="b")])
    html = write_report(folder).read_text(encoding="utf-8")
    assert f"<h1>{folder.name}</h1>" in html
    assert "Settings" not in html


def test_the_page_of_an_empty_run_says_that_it_has_no_calls(run_folder):
    assert "No calls were recorded" in write_report(run_folder([], {"users": 1})).read_text(encoding="utf-8")


def test_a_page_is_replaced_whole(run_folder, traffic):
    folder = run_folder(traffic[:10])
    (folder / "report.html").write_text("an old page")
    assert "an old page" not in write_report(folder).read_text(encoding="utf-8")


def test_an_invalid_run_folder_is_an_input_error(run_folder, call, tmp_path):
    with pytest.raises(InputError, match="holds neither"):
        write_report(tmp_path)
    folder = run_folder([call(Endpoint.SEND, 50000)])
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is not JSON"):
        write_report(folder)


def test_outcomes_beyond_the_maximum_are_counted(call, render):
    records = [call(Endpoint.SEND, 60_000 + i) for i in range(250)]
    assert "50 more rows are not shown" in render(analysis.from_records(records))


def test_a_browser_shows_the_page(path, browse, tmp_path):
    picture = tmp_path / "page.png"
    browse(path, f"--screenshot={picture}", "--window-size=1280,1600")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_no_wider_than_the_screen_and_no_label_is_cut_off(width, path, browse, tmp_path):
    frame = tmp_path / "frame.html"
    frame.write_text(f"<iframe style='width: {width}px; height: 4000px'></iframe><pre></pre><script>{MEASURE}</script>")
    html = path.read_text(encoding="utf-8")
    frame.write_text(frame.read_text().replace("PAGE", json.dumps(html).replace("</", "<\\/")))
    measured = json.loads(re.search(r"<pre>(.*?)</pre>", browse(frame, "--dump-dom", "--virtual-time-budget=3000"))[1])
    assert measured["labels"] > 20
    assert measured["cut"] == []
    assert measured["width"] <= width


MEASURE = """
const inner = document.querySelector("iframe");
inner.onload = () => {
  const page = inner.contentDocument, shown = [...page.querySelectorAll("svg")].filter(svg => svg.clientWidth);
  const labels = shown.flatMap(svg => [...svg.querySelectorAll("text")].map(text => [svg, text]));
  const cut = labels.filter(([svg, text]) => {
    const frame = svg.closest(".picture").getBoundingClientRect(), box = text.getBoundingClientRect();
    return box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom;
  });
  document.querySelector("pre").textContent = JSON.stringify({
    labels: labels.length, cut: cut.map(([svg, text]) => text.textContent), width: page.documentElement.scrollWidth,
  });
};
inner.srcdoc = PAGE;
"""


def test_a_period_that_begins_after_the_warm_up_loses_none_of_its_calls(call, run_folder) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [
        call(Endpoint.SEND, 50019 if 60 <= second < 85 else 50000, started_ns=start_ns + second * 1_000_000_000)
        for second in range(120)
    ]
    folder = run_folder(records, {"thresholds": ["failed < 1%"], "warm_up_s": 30.0, "ended": "finished"})
    for since, share in (("2026-11-06T12:01:00Z", 25 / 60), ("2026-11-06T12:00:10Z", 25 / 90), (None, 25 / 90)):
        (run,) = read_inputs([folder], since=since).runs
        (verdict,) = run.verdicts
        assert verdict.value == pytest.approx(100 * share)


def test_the_slowest_traced_calls_are_listed_with_their_trace_ids(run_folder, call):
    ms = 1_000_000
    records = [
        call(Endpoint.SEND, 50000, latency_ns=9_000 * ms),
        call(Endpoint.SEND, 50000, latency_ns=20 * ms, wait_ns=1_000 * ms, trace_id="a" * 32),
        call(Endpoint.VERIFY, None, latency_ns=900 * ms, error="timeout", trace_id="b" * 32),
        *(call(Endpoint.SEND, 50000, latency_ns=it * ms, trace_id=f"{it:032x}") for it in range(1, 10)),
    ]
    text = write_report(run_folder(records)).read_text(encoding="utf-8").replace("<wbr>", "")
    listed = re.findall(r">([0-9a-f]{32})<", text)
    assert listed == ["a" * 32, "b" * 32, *(f"{it:032x}" for it in range(9, 1, -1))]
    assert "Slowest traced calls" in text


def test_without_traced_calls_there_is_no_table_of_them(page):
    assert "trace" not in " ".join(page.text)


@pytest.mark.parametrize("counts", ["pacing", "generator"])
def test_the_rate_of_a_period_is_that_of_its_own_time(call, run_folder, counts: str) -> None:
    start_ns = call(Endpoint.SEND, 50000).started_ns
    records = [call(Endpoint.SEND, 50000, started_ns=start_ns + at * 200_000_000) for at in range(300)]  # 5/s for 60 s
    until_end = {"elapsed_s": 120.0, "due": 300, "dropped": 0}  # nothing was answered in the second minute
    settings = {"thresholds": ["rate(send) > 4/s"], "warm_up_s": 30.0, "duration_s": 120, "ended": "finished"}
    folder = run_folder(records, settings | {counts: until_end})
    periods = [("2026-11-06T12:00:40Z", "2026-11-06T12:01:00Z", 5.0), ("2026-11-06T12:00:40Z", None, 100 / 80)]
    for since, until, rate in periods:
        (run,) = read_inputs([folder], since=since, until=until).runs
        assert run.verdicts[0].value == pytest.approx(rate)
        assert run.settings["warm_up_s"] == 30.0


def test_a_period_without_calls_has_no_data(call, run_folder) -> None:
    settings = {"thresholds": ["failed < 1%"], "warm_up_s": 30.0, "ended": "finished"}
    (run,) = read_inputs([run_folder([call(Endpoint.SEND, 50000)], settings)], since="2026-11-07").runs
    assert (run.verdicts[0].status, run.warm_up_s) == (Status.NO_DATA, 30.0)


@pytest.mark.parametrize(("seconds", "told"), [(60, False), (1200, True)])
def test_sections_that_found_nothing_are_in_the_reports_of_long_runs_only(seconds, told, call, inputs_of):
    calls = [
        call(Endpoint.SEND, 50000, started_ns=1_793_966_400_000_000_000 + at * 10**9, mobile_key=at)
        for at in range(seconds)
    ]
    names = {section.name for section in build_report(inputs_of(analysis.from_records(calls))).sections}
    assert {"outcomes", "latency"} <= names
    assert {name: name in names for name in ("changes", "cost", "errors", "limits", "suspects")} == dict.fromkeys(
        ("changes", "cost", "errors", "limits", "suspects"), told
    )


def test_the_share_of_failed_calls_is_told_for_each_endpoint(call, inputs_of):
    calls = [call(Endpoint.SEND, code) for code in (50000, 50019)] + [call(Endpoint.VERIFY, 50000)]
    facts = build_report(inputs_of(analysis.from_records(calls), {"ended": "finished"})).facts
    shown = {fact.label: fact.value for fact in facts if "failed" in fact.label}
    assert shown == {"failed of send": "50.00 %", "failed of verify": "0.00 %"}
