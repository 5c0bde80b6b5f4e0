"""`smscode what-if`: tables, JSON, remarks and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.priced import MIDNIGHT_NS, SECOND_NS, send, verify
from support.service import smscode

from toolkit.records.parquet import write_parquet

FIRST, SECOND = (send(MIDNIGHT_NS + second * SECOND_NS, 1, 50000) for second in (0, 70))
CALLS = [FIRST, SECOND, verify(SECOND, 50000), send(MIDNIGHT_NS + SECOND_NS, 2, None)]
PRICES = '[[prices]]\nsince = "2026-11-01"\nper_segment = "0.5"\ncurrency = "CNY"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parquet(CALLS, tmp_path / "calls.parquet")
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    (tmp_path / "dear.toml").write_text(PRICES.replace("0.5", "2"), encoding="utf-8")
    return tmp_path


def test_rules_are_columns_and_remarks_are_on_stderr(folder: Path) -> None:
    done = smscode(
        "what-if", "calls.parquet", "--rule", "1/90s", "--rule", "5/1h", "--alternative", "1/60s", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1] == ["figure", "recorded", "1/90s", "5/3600s", "1/60s"]
    assert ["newly", "refused", "0", "1", "0"] in lines
    assert ["money", "saved,", "bounds", "–", "–", "–"] in lines
    assert "1 sends got no response" in done.stderr
    assert "No price is known" in done.stderr


def test_json_has_every_table_and_null_for_unknown_figures(folder: Path) -> None:
    options = ["--rule", "1/90s", "--sweep", "1,2/60s,90s", "--by", "prefix", "--chart", "out/sweep.html", "--json"]
    done = smscode("what-if", "calls.parquet", *options, cwd=folder)
    found = json.loads(done.stdout)
    assert [row["rule_set"] for row in found["what_if"]] == ["recorded", "1/90s"]
    assert found["what_if"][1]["money_saved"] is None
    assert found["by"][1]["prefix"] == "1380013"
    assert len(found["sweep"]) == 4
    assert (folder / "out" / "sweep.html").exists()


def test_new_prices_and_a_block_list_keep_the_recorded_rules(folder: Path) -> None:
    options = ["--prices", "prices.toml", "--new-prices", "dear.toml", "--block", "139", "--json"]
    rows = json.loads(smscode("what-if", "calls.parquet", *options, cwd=folder).stdout)["what_if"]
    assert [row["money"] for row in rows] == [1.0, 4.0]
    assert rows[1]["money_saved"] == -3.0


def test_sends_that_a_block_list_cannot_refuse_are_counted_on_stderr(folder: Path) -> None:
    write_parquet([FIRST, send(MIDNIGHT_NS + SECOND_NS, 4, 50000)], folder / "calls.parquet")
    done = smscode("what-if", "calls.parquet", "--block", "138", "--json", cwd=folder)
    assert "1 sends have no prefix: a block list can't refuse them." in done.stderr
    assert "No price is known" in done.stderr
    assert json.loads(done.stdout)["what_if"][1]["undecided"] == 1


def test_new_prices_in_another_currency_are_refused(folder: Path) -> None:
    (folder / "dollars.toml").write_text(PRICES.replace("CNY", "USD"), encoding="utf-8")
    options = ["--prices", "prices.toml", "--new-prices", "dollars.toml"]
    done = smscode("what-if", "calls.parquet", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "prices in CNY and USD can't be compared" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nothing to try"),
        (["--rule", "often"], "often"),
        (["--block", "1x"], "invalid --block '1x': expected 1 to 7 first digits"),
        (["--sweep", "1,2"], "invalid --sweep '1,2'"),
        (["--sweep", "1,2/60s", "--block", "139"], "--sweep can't be given with --block: it compares rate limits only"),
        (
            ["--sweep", "1/60s", "--rule", "1/60s", "--block", "139", "--new-prices", "dear.toml"],
            "--sweep can't be given with --block and --new-prices",
        ),
        (["--rule", "1/60s", "--by", "day"], "'day'"),
        (["--rule", "1/60s", "--patience", "long"], "--patience"),
        (["--rule", "1/60s", "--since", "soon"], "--since"),
        (["--rule", "1/60s", "--column", "mobile=m"], "--column has no effect on records of calls"),
    ],
)
def test_invalid_options_are_exit_2_and_one_line(folder: Path, options: list[str], reason: str) -> None:
    done = smscode("what-if", "calls.parquet", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr


def test_a_replay_of_no_sends_is_exit_99(folder: Path) -> None:
    done = smscode("what-if", "calls.parquet", "--rule", "1/60s", "--since", "2100-01-01", cwd=folder)
    assert done.returncode == 99, done.stderr
    assert "no data: no send was replayed" in done.stderr


def test_a_block_list_that_no_mobile_matches_is_told(folder: Path) -> None:
    done = smscode("what-if", "calls.parquet", "--block", "1999", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "No send went to a mobile that begins with 1999" in done.stderr
