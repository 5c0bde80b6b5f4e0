"""One declaration of the options, read from the command line, the environment and locust's web page."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import configargparse
import pytest

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.load_test.plan.options import LoadOptions, add_arguments, declared, from_parsed_options

FULL = LoadOptions(
    rate_per_s=20,
    duration_s=30,
    arrivals="poisson",  # type: ignore[arg-type] # the text of an enumeration's value
    max_connections=7,
    seed=3,
    mobiles="zipf:1.1",
    allow_target=("a.example", "b.example"),
    i_pay_for_this=True,
    max_messages=0,
    max_cost="12.50",
    thresholds=("p99(send.caller_ms, 5m) < 250", "ok_ratio(send) >= 95%"),
    warm_up_s=2.5,
    timeout_s=2,
    connect_timeout_s=0.5,
    headers=("X-Environment: staging, blue", "User-Agent: load-test"),
    ca_bundle=Path("ca.pem"),
    client_cert=Path("client.pem"),
    client_key=Path("client.key"),
    max_failed="5%",
    max_dropped="2%",
    max_bottleneck="3%",
    expected=("RATE", "50014"),
    cut_off_timeout_s=2.5,
    limits=("p99(send.caller_ms) < 250",),
    rules=("1/60s", "5/3600s"),
    speed=60,
    tries=3,
    ttl_s=60,
)


def parser() -> configargparse.ArgumentParser:
    """Return the class that locust's parser extends: importing locust patches the process."""
    made = configargparse.ArgumentParser()
    add_arguments(made)
    return made


def test_every_option_is_declared_with_a_help_text_and_a_place_to_set_it() -> None:
    for name, option in declared().items():
        assert option.help.endswith("."), name
        assert option.flag or option.argument, name
        assert (option.argument is None) == (option.variable is None), name
    flags = [option.flag for option in declared().values() if option.flag]
    variables = [option.variable for option in declared().values() if option.variable]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


def test_a_locust_process_reads_from_its_environment_what_its_parent_set() -> None:
    parsed = parser().parse_args([], env_vars=FULL.environment())
    read = from_parsed_options(parsed)
    stages = {"rate_per_s": None, "duration_s": None, "stages": "30.000000s=20.000000"}
    assert read.model_dump() == {**FULL.model_dump(), **stages}
    assert read.schedule() == FULL.schedule()


def test_an_option_that_is_not_set_is_inherited_from_the_environment() -> None:
    variables = LoadOptions(users=1, duration_s=1).environment()
    assert not variables.keys() & {
        "SMSCODE_MAX_MESSAGES",
        "SMSCODE_THRESHOLD",
        "SMSCODE_FAILURES_PER_HOUR",
        "SMSCODE_RUN_DIR",
    }


def test_tries_and_ttl_come_from_the_environment_unless_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSCODE_TRIES", "3")
    monkeypatch.setenv("SMSCODE_TTL_S", "60")
    options = LoadOptions(users=1, duration_s=1, ttl_s="90s")
    assert (options.tries, options.ttl_s) == (3, 90)
    arguments = options.sandbox_arguments()
    assert arguments[arguments.index("--tries") + 1] == "3"
    monkeypatch.setenv("SMSCODE_TRIES", "many")
    with pytest.raises(InputError, match="--tries 'many': expected a whole number from 1 to 255"):
        LoadOptions(users=1)


def test_a_duration_is_given_as_text_on_locusts_command_line() -> None:
    parsed = parser().parse_args(["--call-timeout", "1500ms", "--warm-up", "2s", "--ttl", "2m"], env_vars={})
    options = from_parsed_options(parsed)
    assert (options.timeout_s, options.warm_up_s, options.ttl_s) == (1.5, 2.0, 120)


def test_the_values_of_headers_are_in_no_settings() -> None:
    settings = LoadOptions(users=1, headers=("X-Gateway: hunter2",)).settings()
    assert settings["headers"] == ["X-Gateway: ***"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"headers": ("X-Gateway",)}, "--header 'X-Gateway': expected NAME: VALUE"),
        ({"headers": ("Authorization: Basic eA==",)}, "the header Authorization belongs to the request itself"),
        ({"timeout_s": "0s"}, "--timeout '0s'"),
        ({"warm_up_s": 10.0, "duration_s": 10.0}, "--warm-up 10s leaves nothing to judge"),
        ({"client_key": "key.pem"}, "give --client-cert"),
        ({"limits": ("p99(send.caller_ms, 5s) < 1",)}, "leave the window out"),
    ],
)
def test_what_the_calls_can_not_have_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as refusal:
        LoadOptions(users=1, **given)
    assert problem in str(refusal.value)


def test_none_is_an_option_that_is_not_given() -> None:
    optional = [name for name, field in LoadOptions.model_fields.items() if field.default is None]
    given = {"users": 1, "duration_s": 1, "seed": 1}
    for name in set(optional) - given.keys():
        assert LoadOptions(**given, **{name: None}) == LoadOptions(**given)
    assert LoadOptions(users=1, duration_s=None).run_time_s == math.inf
    with pytest.raises(InputError, match="--seed 'None': expected a whole number"):
        LoadOptions(users=1, seed=None)  # type: ignore[arg-type]


def test_locusts_page_offers_load_thresholds_rules_speed_and_budget_but_no_permission() -> None:
    offered = {action.dest for action in parser()._actions if getattr(action, "include_in_web_ui", False)}
    assert {"rate", "stages", "threshold", "limit", "rule", "speed", "max_messages", "max_cost"} <= offered
    assert not offered & {"allow_target", "i_pay_for_this", "sms_run_dir", "sms_lifeline_fd"}


def test_the_texts_of_locusts_page_are_read_and_empty_ones_are_not_set() -> None:
    page = vars(parser().parse_args([], env_vars={}))
    page |= {"rate": "50", "stages": "", "max_messages": "100", "max_cost": "", "recording": ""}
    page |= {"rule": ["1/60s", " 5/3600s"], "threshold": [""], "num_users": 4}
    options = from_parsed_options(Namespace(**page))
    assert (options.rate_per_s, options.users, options.stages) == (50, None, None)
    assert (options.max_messages, options.max_cost, options.recording) == (100, None, None)
    assert (options.rules, options.thresholds) == (("1/60s", "5/3600s"), ())


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({}, ["failed < 1%"]),
        ({"max_failed": "0.5%"}, ["failed < 0.5%"]),
        ({"max_failed": "100%"}, ["failed <= 100%"]),
        ({"max_failed": "0%"}, ["failed <= 0%"]),
        ({"thresholds": ("failed < 7%",)}, ["failed < 7%"]),
        ({"thresholds": ("share(connect) < 7%",)}, ["share(connect) < 7%", "failed < 1%"]),
        ({"thresholds": ("failed(verify) < 7%",)}, ["failed(verify) < 7%", "failed(send) < 1%"]),
        ({"thresholds": ("failed(verify) < 7%", "failed(send) < 7%")}, ["failed(verify) < 7%", "failed(send) < 7%"]),
    ],
)
def test_failed_calls_have_a_threshold_in_every_run(given: dict[str, Any], held: list[str]) -> None:
    options = LoadOptions(users=1, **given)
    assert [str(it) for it in options.parsed_thresholds()] == options.settings()["thresholds"] == held


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({"rate_per_s": 5}, ["failed < 1%", "dropped < 1%"]),
        ({"stages": "1s=5", "max_dropped": "100%"}, ["failed < 1%", "dropped <= 100%"]),
        ({"rate_per_s": 5, "thresholds": ("dropped < 7%",)}, ["dropped < 7%", "failed < 1%"]),
        ({"users": 5}, ["failed < 1%"]),
    ],
)
def test_dropped_arrivals_have_a_threshold_in_every_open_loop(given: dict[str, Any], held: list[str]) -> None:
    assert [str(it) for it in LoadOptions(**given).parsed_thresholds()] == held


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("1m30s", 90.0), ("2.5", 2.5), (0, 0.0)])
def test_the_timeout_at_the_end_is_a_duration_or_a_number_of_seconds(text: object, seconds: float) -> None:
    assert LoadOptions(users=1, cut_off_timeout_s=text).cut_off_timeout_s == seconds  # type: ignore[arg-type]


def test_without_a_rate_locusts_users_are_the_load() -> None:
    page = parser().parse_args([], env_vars={})
    assert from_parsed_options(page).users == 1
    assert from_parsed_options(Namespace(**vars(page), num_users=4)).users == 4


def test_rules_that_are_not_given_are_those_of_the_api() -> None:
    assert LoadOptions(users=1).expectations().rules == DEFAULT_RULES
    assert LoadOptions(users=1, rules=("2/1s",)).expectations().rules == (Rule(2, 1),)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "exactly one of --users, --rate and --stages"),
        ({"users": 1, "rate_per_s": 1}, "exactly one of --users, --rate and --stages"),
        ({"rate_per_s": 1, "stages": "1s=1"}, "--rate and --stages exclude one another"),
        ({"stages": "1s=1", "duration_s": 1}, "--stages and --duration exclude one another"),
        ({"users": 1, "thresholds": ("dropped < 1%",)}, "a threshold on dropped arrivals needs --rate or --stages"),
        ({"users": 0}, "invalid --users '0': expected a whole number of users from 1 to 100,000"),
        ({"users": 10**20}, f"invalid --users '{10**20}'"),
        ({"users": 1, "workers": 10**20}, f"invalid --workers '{10**20}'"),
        ({"rate_per_s": 1, "max_connections": 10**20}, f"invalid --max-connections '{10**20}'"),
        ({"users": 1, "max_failed": "1"}, "invalid --max-failed '1': expected a share of 0 to 100 %, e.g. 1%"),
        ({"users": 1, "max_failed": "101%"}, "invalid --max-failed '101%'"),
        ({"users": 1, "expected": ("SERVER",)}, "invalid --expect 'SERVER': expected one of REQUEST"),
        ({"users": 1, "cut_off_timeout_s": "soon"}, "invalid --cut-off-timeout 'soon'"),
        (
            {"rate_per_s": "fast"},
            "invalid --rate 'fast': expected a number of journeys per second above 0 and at most 10,000,000",
        ),
        ({"rate_per_s": float("inf")}, "invalid --rate"),
        ({"users": 1, "workers": 0}, "invalid --workers '0'"),
        ({"users": 1, "duration_s": float("inf")}, "invalid --duration"),
        ({"users": 1, "thresholds": ("p99 < 1",)}, "invalid --threshold 'p99 < 1', at"),
        ({"users": 1, "rules": ("often",)}, "invalid --rule 'often'"),
        ({"users": 1, "speed": 0}, "invalid --speed '0': expected a number above 0 and at most 1000000"),
        ({"users": 1, "speed": float("inf")}, "invalid --speed 'inf'"),
        ({"users": 1, "label": "two\nlines"}, "invalid --label .*: expected a text of 1 to 80 characters in one line"),
        ({"users": 1, "max_message": 3}, "unknown option 'max_message' .choose from .*max_messages"),
    ],
)
def test_invalid_options_are_refused_in_one_line(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        LoadOptions(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
