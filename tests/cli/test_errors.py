"""Wrong input: one sentence that names the option and a form that works, exit code 2, nothing left behind."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support.service import smscode

TARGET = {"SMSCODE_BASE_URL": "http://127.0.0.1:9", "SMSCODE_APP_KEY": "key", "SMSCODE_MASTER_SECRET": "s3cret"}


def refuse(words: list[str], env: dict[str, str], folder: Path) -> str:
    """Run a wrong command line in an empty folder; return its error."""
    before = sorted(folder.iterdir())
    done = smscode(*words, env=env, cwd=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert sorted(folder.iterdir()) == before
    assert line.startswith("smscode: ")
    assert "s3cret" not in line
    return line.removeprefix("smscode: ")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("send 138", "invalid MOBILE: expected 11 digits of a mainland mobile, with or without +86"),
        ("send 138001380001", "invalid MOBILE: expected"),
        ("send", "missing argument 'MOBILE'; see smscode send --help"),
        ("send 13800138000 --target notaurl", "invalid --target: expected http:// or https://, a host"),
        ("send 13800138000 --target http://key:pw@host", "invalid --target: expected"),
        ("send 13800138000 --app-key a:b", "invalid --app-key: expected a key without a colon"),
        ("send 13800138000 --temp-id -1", "invalid --temp-id '-1': expected a whole number from 0"),
        ("send 13800138000 --temp-id x", "invalid --temp-id 'x': expected a whole number from 0"),
        ("verify '' 123456", "the first argument is empty: expected a value; is a variable unset?"),
        ("verify id ''", "the argument after id is empty"),
        ("verify .. 123456", "invalid MSG_ID '..': expected the msg_id that the send returned"),
        ("codes --json --markdown", "--json and --markdown exclude one another"),
        ("load --duration ten", "invalid --duration 'ten': expected numbers with units, e.g. 500ms, 10s"),
        ("load --duration 0s", "invalid --duration '0s': expected more than 0"),
        ("load --users x", "invalid --users 'x': expected a whole number of users from 1 to 100,000"),
        ("load --users 5 --rate 4", "expected exactly one of --users, --rate and --stages"),
        ("load --users 5 --arrivals poisson", "--arrivals has no effect on users: give --rate or --stages with it"),
        (
            "load --rate fast",
            "invalid --rate 'fast': expected a number of journeys per second above 0 and at most 10,000,000",
        ),
        ("load --stages 1s=5,x", "invalid --stages '1s=5,x': invalid stage 'x': expected 30s@500 (ramp)"),
        ("load --stages 1s=5 --duration 1s", "--stages and --duration exclude one another"),
        ("load --arrivals x", "invalid --arrivals 'x': expected constant or poisson"),
        ("load --mobiles zipf:0", "invalid --mobiles 'zipf:0': expected an exponent above 1"),
        ("load --max-messages 0", "the run may not send a single message: give a larger --max-messages or --max-cost"),
        ("load --threshold 'p99(send) < 1'", "invalid --threshold 'p99(send) < 1', at ') < 1': expected"),
        ("load --expect SERVER", "invalid --expect 'SERVER': expected one of REQUEST, ACCOUNT, RATE"),
        ("load --rule often", "invalid --rule 'often': expected COUNT/DURATION, e.g. 1/60s"),
        ("load --rule 1/99999h", "invalid --rule '1/99999h': invalid rule '1/359996400s': the window must be at most"),
        ("load --expect 1", "invalid --expect '1': expected one of REQUEST, ACCOUNT, RATE, or a return code"),
        ("load --width 5%", "--width has no effect without --find-capacity"),
        ("load --max-duration 1m", "--max-duration has no effect without --find-capacity"),
        ("load --metrics-host ::1", "--metrics-host has no effect without --metrics-port"),
        ("load --max-failed 2% --threshold 'failed < 1%'", "--max-failed has no effect beside a --threshold on failed"),
        (
            "load --rate 5 --max-dropped 2% --threshold 'dropped < 1%'",
            "--max-dropped has no effect beside a --threshold",
        ),
        ("load --ca-bundle x.pem", "--ca-bundle has no effect on a target without TLS: give --target https://"),
        ("load --client-cert x.pem", "--client-cert has no effect on a target without TLS: give --target https://"),
        ("load --out ''", "the argument after --out is empty"),
        ("load --out=", "--out is empty"),
        ("load --nosuch", "no such option: --nosuch"),
        ("load throughput more", "got unexpected extra argument(s) (more); see smscode load --help"),
        ("load nosuch", "unknown SCENARIO 'nosuch' (choose from brute_force"),
        ("serve --port 99999", "invalid --port: expected a whole number from 0 to 65535"),
        ("serve --port x", "invalid --port 'x': expected a whole number"),
        ("serve --port", "option '--port' requires an argument"),
        ("serve --workers 0", "invalid --workers: expected a whole number from 1 to 256"),
        ("serve --rule often", "invalid --rule: expected COUNT/DURATION"),
        ("serve --app-rule often", "invalid --app-rule: expected COUNT/DURATION"),
        ("serve --store x", "invalid --store: expected sqlite:///path.db, or redis://host:port"),
        ("serve --provider pigeon", "invalid --provider: expected one of outbox, webhook, smpp"),
        ("serve --latency x", "invalid --latency 'x': expected a duration, e.g. 20ms"),
        ("serve --stall x", "invalid --stall 'x': expected LENGTH/PERIOD, e.g. 200ms/2s"),
        ("serve --error-share 2", "invalid --error-share 2.0: expected a share from 0 to 1"),
        ("serve --drop-share x", "invalid --drop-share 'x': expected a number"),
        ("serve --speed nan", "invalid --speed nan: expected a number above 0"),
        ("serve --host 10.0.0.1", "invalid --host '10.0.0.1': a sandbox shows its codes"),
        ("serve --admin-host ::1", "--admin-host has no effect without --admin-port"),
        ("serve --key-file x", "--key-file has no effect on a SQLite store"),
        ("serve --production --expose-sandbox", "--expose-sandbox and --production exclude one another"),
        ("app create", "no store: give --store sqlite:///path.db or --store redis://host:port, or set SMSCODE_STORE"),
        ("app topup key many --store sqlite:///a.db", "invalid MESSAGES 'many': expected a whole number"),
        ("template edit x --ttl 5 --store sqlite:///a.db", "invalid TEMP_ID 'x': expected a whole number from 0"),
        ("template edit 1 --store sqlite:///a.db", "nothing to change: give --text or --ttl"),
        ("report nowhere", "nowhere doesn't exist: give a run folder"),
        ("report x --out - --json", "--out - and --json exclude one another"),
        ("report x --format pdf", "unknown --format 'pdf' (choose from html"),
        ("report x --fail-if x", "invalid --fail-if 'x', at 'x': expected a metric"),
        ("report x --since noon", "invalid --since 'noon': expected a time as in 2026-11-01T14:05"),
        ("report x --until noon", "invalid --until 'noon': expected a time as in 2026-11-01T14:05"),
        ("report x --since 9999-01-01", "invalid --since '9999-01-01': expected a time of the years 1678 to 2261"),
        (
            "report x --column mobile=a --column mobile=b",
            "--column names two columns for mobile, 'a' and 'b': give one",
        ),
        ("report x --timezone Mars", "invalid --timezone 'Mars': expected an IANA name"),
        ("report x --max-unread some", "invalid --max-unread 'some': expected a share of 0% to 100%"),
        ("report x --statement-column a=b", "--statement-column has no effect without --statement FILE"),
        ("report x --statement s --statement-decimal x", "invalid --statement-decimal 'x': expected . or ,"),
        ("report x --statement s --statement-currency yuan", "invalid --statement-currency 'yuan': expected"),
        ("probe --max-duration x", "invalid --max-duration 'x': expected numbers with units, e.g. 500ms"),
        ("simulate --days 0", "invalid --days 0: expected 1 to 3,660"),
        ("simulate --calls many", "invalid --calls 'many': expected a number, such as 10M"),
        ("simulate --seed -1", "invalid --seed -1: expected a whole number from 0"),
        ("simulate --start noon", "invalid --start 'noon': expected a date, such as 2026-11-01"),
        ("simulate --rule often", "invalid --rule 'often': expected COUNT/DURATION"),
        ("simulate --incidents x", "unknown --incidents 'x' (choose from outage"),
        ("simulate --growth-per-day 9", "invalid --growth-per-day 9.0: expected -0.05 to 0.05"),
        ("console --port 99999", "invalid --port '99999': expected a whole number from 0 to 65535"),
        ("lab --port x", "invalid --port 'x': expected a whole number from 0 to 65535"),
        ("nosuch", "no such command 'nosuch'; see smscode --help"),
        ("app nosuch", "no such command 'nosuch'; see smscode app --help"),
    ],
)
def test_the_error_names_the_option_that_was_used(words: str, error: str, tmp_path: Path) -> None:
    needs_target = words.split()[0] in ("send", "verify", "load")
    assert refuse(shlex.split(words), TARGET if needs_target else {}, tmp_path).startswith(error)


@pytest.mark.parametrize("words", ["--allow-target x.example", "--i-pay-for-this", "--temp-id 5"])
def test_an_option_on_the_target_has_no_effect_on_a_sandbox_of_the_run_s_own(words: str, tmp_path: Path) -> None:
    error = refuse(["load", *words.split()], {}, tmp_path)
    assert error.startswith(
        f"{words.split()[0]} has no effect without a target, as a sandbox is started: give --target"
    )


@pytest.mark.parametrize(
    ("words", "variable", "value", "error"),
    [
        ("send 13800138000", "SMSCODE_BASE_URL", "notaurl", "expected http:// or https://"),
        ("send 13800138000", "SMSCODE_TEMP_ID", "x", "expected a whole number from 0"),
        ("send 13800138000", "SMSCODE_APP_KEY", "a:b", "expected a key without a colon"),
        ("serve", "SMSCODE_PORT", "x", "expected a whole number from 0 to 65535"),
        ("serve", "SMSCODE_RULES", "often", "expected COUNT/DURATION"),
        ("serve", "SMSCODE_STORE", "x", "expected sqlite:///path.db, or redis://host:port"),
        ("app list", "SMSCODE_STORE", "x", "expected sqlite:///path.db, or redis://host:port"),
        ("serve", "SMSCODE_PROVIDER", "pigeon", "expected one of outbox, webhook, smpp"),
        ("load", "SMSCODE_PRICE_PER_SEND", "free", "expected a decimal number, e.g. 0.045"),
    ],
)
def test_the_error_names_the_variable_or_the_file_of_a_wrong_setting(
    words: str, variable: str, value: str, error: str, tmp_path: Path
) -> None:
    env = TARGET if words.startswith("send") else {}
    assert refuse(words.split(), env | {variable: value}, tmp_path).startswith(f"invalid {variable}: {error}")
    name, table = variable.removeprefix("SMSCODE_").lower(), "" if words.startswith(("send", "load")) else "[service]\n"
    (tmp_path / "smscode.toml").write_text(f'{table}{name} = "{value}"\n')
    place = "[service] of smscode.toml" if table else "smscode.toml"
    env = {key: it for key, it in env.items() if key != variable}
    assert refuse(words.split(), env, tmp_path).startswith(f"invalid {name} in {place}: {error}")
    (tmp_path / "smscode.toml").unlink()
    (tmp_path / ".env").write_text(f"{variable}={value}\n")
    assert refuse(words.split(), env, tmp_path).startswith(f"invalid {variable} in .env: {error}")
