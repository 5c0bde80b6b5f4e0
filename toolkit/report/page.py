"""Page: one run as one HTML file that needs no network and runs no script. Every text in it is masked and escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from toolkit.analysis import charts, duration_s, latency, over_time, read, return_codes, span
from toolkit.analysis.percentiles import TAIL
from toolkit.analysis.table import IntoCalls, collect, lazy
from toolkit.codes import ReturnCode
from toolkit.errors import InputError
from toolkit.masking import Json, mask, mask_text
from toolkit.report import tables, verdicts, wording
from toolkit.report.claims import Claim, claim_rows, read_claims
from toolkit.report.summary import RUN_NAME

REPORT_NAME = "report.html"
_TEMPLATE = "page.html.j2"
_MOST_OUTCOMES = 200
_LONGEST_NAME = 80
_WIDE, _NARROW = 880, 250  # px between the axes, for screens above and below the template's breakpoint
_MOST_BUCKETS = 150
_BUCKETS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600)


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of the headline."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One picture, drawn for a wide and for a narrow screen."""

    title: str
    note: str
    wide: Markup
    narrow: Markup


def write_report(run: str | Path) -> Path:
    """Write a run folder's report.html, or FILE.parquet.html beside a Parquet file of calls, and return its path.

    The file appears whole or not at all. The settings shown are those of the folder's run.json, if there is one. Raise
    InputError for what holds no calls.
    """
    run = Path(run)
    calls = read(run)
    page = run / REPORT_NAME if run.is_dir() else run.with_name(f"{run.name}.html")
    html = render(calls, read_settings(run / RUN_NAME), _name(calls, run), read_claims(run))
    partial = page.with_name(f"{page.name}.part")
    partial.write_bytes(html.encode("utf-8", "replace"))
    return partial.replace(page)


def render(calls: IntoCalls, settings: Mapping[str, object], name: str, claims: Sequence[Claim] = ()) -> str:
    """Return a run's page; ``settings`` may hold secrets, the page doesn't."""
    codes, masked = _mask_errors(return_codes(calls)), mask(settings)
    rows = list(tables.outcome_rows(codes.head(_MOST_OUTCOMES)))
    return _template().render(
        name=mask_text(name),
        when=_when(calls),
        target=_target(masked),
        facts=_facts(codes, duration_s(calls)),
        remarks=list(wording.remarks(masked)) if isinstance(masked, dict) else [],
        verdicts=list(tables.verdict_rows(verdicts.judge_run(calls, settings))),
        claims=list(claim_rows(claims)),
        outcomes=_by_endpoint(rows),
        outcomes_left_out=len(codes) - len(rows),
        kinds=tables.kinds(rows),
        latency_heads=tables.latency_heads(),
        latencies=_by_endpoint(tables.latency_rows(latency(calls))),
        figures=_figures(calls) if len(codes) else [],
        settings=list(tables.setting_rows(masked)),
    )


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))


def read_settings(path: Path) -> Mapping[str, object]:
    """Return the settings that a run.json holds, none where there is no such file; raise InputError for no JSON."""
    if not path.exists():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path} is not JSON, mend or remove it: {problem}") from problem
    settings = run.get("settings") if isinstance(run, dict) else None
    return settings if isinstance(settings, dict) else {}


def _name(calls: IntoCalls, run: Path) -> str:
    names = [name for name in collect(lazy(calls).select("run").unique())["run"].dropna() if name]
    return str(names[0]) if len(names) == 1 else run.resolve().name


def _mask_errors(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(error=frame["error"].map(_short, na_action="ignore").astype("category"))


def _short(error: str) -> str:
    error = mask_text(error)
    return error if len(error) <= _LONGEST_NAME else error[: _LONGEST_NAME - 1] + "…"


def _when(calls: IntoCalls) -> str:
    within = span(calls)
    return f"{within[0]:%Y-%m-%d %H:%M:%S} UTC" if within else wording.NONE


def _target(settings: Json) -> str:
    target: Json = settings
    for names in (("target", "base_url", "host"), ("base_url", "host")):
        if isinstance(target, dict):
            target = next((target[name] for name in names if target.get(name)), None)
    return target if isinstance(target, str) else wording.NONE


def _facts(codes: pd.DataFrame, seconds: float) -> list[Fact]:
    total = int(codes["calls"].sum())
    good = int(codes.loc[codes["return_code"] == ReturnCode.SUCCESS, "calls"].sum())
    return [
        Fact("calls", f"{total:,}"),
        Fact("calls per second", wording.rate(total / seconds if seconds else None)),
        Fact("OK", wording.share(good / total if total else None)),
        Fact("duration", wording.duration(seconds)),
    ]


def _by_endpoint(rows: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    return [(endpoint, list(group)) for endpoint, group in groupby(rows, attrgetter("endpoint"))]


def _figures(calls: IntoCalls) -> list[Figure]:
    every_s = _bucket_s(duration_s(calls))
    return [
        _figure(
            charts.latency,
            latency(calls, at=TAIL),
            "Latency by percentile",
            "Each further nine has the same room. Where the two lines of a call part, calls waited for their turn.",
        ),
        _figure(
            charts.over_time,
            _mask_errors(over_time(calls, f"{every_s}s")),
            "Return codes over time",
            f"Means over {wording.duration(every_s)}. A call counts where it started.",
        ),
    ]


def _bucket_s(duration_s: float) -> float:
    return next((width for width in _BUCKETS_S if duration_s <= width * _MOST_BUCKETS), 86_400)


def _figure(draw: Callable[..., alt.TopLevelMixin], frame: pd.DataFrame, title: str, note: str) -> Figure:
    wide, narrow = (Markup(charts.to_svg(draw(frame, width=width))) for width in (_WIDE, _NARROW))
    return Figure(title, note, wide, narrow)
