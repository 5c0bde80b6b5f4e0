"""Every test stands in an empty directory with an empty environment."""

import traceback
from decimal import Decimal
from pathlib import Path

import pytest

from toolkit.api.errors import SettingsError
from toolkit.settings import Price, Target, find_target, load_price, load_service, load_target

SECRET = "the-master-secret"
GIVEN = {"base_url": "http://h", "app_key": "key", "master_secret": SECRET, "temp_id": 7}
TARGET = Target("http://h", "key", SECRET, 7)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("base_url", "app_key", "master_secret", "temp_id", "store", "port", "price_per_send", "currency"):
        monkeypatch.delenv(f"SMSCODE_{name.upper()}", raising=False)
    return tmp_path


def set_variables(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"SMSCODE_{name.upper()}", str(value))


def write_env(folder: Path, **values: object) -> None:
    (folder / ".env").write_text("".join(f"SMSCODE_{name.upper()}={value}\n" for name, value in values.items()))


def write_toml(folder: Path, **values: object) -> None:
    (folder / "smscode.toml").write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()))


# Where a setting comes from.


def test_arguments_alone_make_a_target() -> None:
    assert load_target(**GIVEN) == find_target(**GIVEN) == TARGET


def test_variables_alone_make_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, **GIVEN)
    assert load_target() == find_target() == TARGET


def test_dot_env_alone_makes_a_target(folder: Path) -> None:
    write_env(folder, **GIVEN, other="thing")
    assert load_target() == find_target() == TARGET


def test_the_toml_file_alone_makes_a_target(folder: Path) -> None:
    write_toml(folder, **GIVEN)
    assert load_target() == find_target() == TARGET


def test_an_argument_beats_a_variable_beats_dot_env_beats_the_toml_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toml(folder, **GIVEN)
    write_env(folder, base_url="http://env", app_key="env", master_secret="env")
    set_variables(monkeypatch, base_url="http://variable", app_key="variable")
    assert load_target(base_url="http://argument") == Target("http://argument", "variable", "env", 7)


def test_an_empty_setting_counts_as_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toml(folder, **GIVEN)
    write_env(folder, app_key="", temp_id="")
    set_variables(monkeypatch, base_url="", master_secret="", temp_id="")
    assert load_target(base_url="", app_key=None) == TARGET
    write_toml(folder, **(GIVEN | {"temp_id": ""}))
    assert load_target().temp_id == 1


def test_the_default_template_is_1() -> None:
    assert load_target(base_url="http://h/", app_key="key", master_secret=SECRET) == Target(
        "http://h", "key", SECRET, 1
    )


def test_each_table_of_the_file_has_its_own_settings(folder: Path) -> None:
    write_toml(folder, **GIVEN)
    with (folder / "smscode.toml").open("a") as file:
        file.write('[service]\nport = 8019\nstore = "sqlite:///s.db"\n')
    assert load_target() == TARGET
    assert (load_service().port, load_service().store) == (8019, "sqlite:///s.db")


# What is missing.


def test_no_settings_mean_no_target() -> None:
    assert find_target() is None
    assert find_target(temp_id=7) is None


@pytest.mark.parametrize("missing", ["base_url", "app_key", "master_secret"])
def test_a_missing_setting_is_named_with_the_ways_to_give_it(missing: str) -> None:
    given = {name: value for name, value in GIVEN.items() if name != missing}
    for load in (load_target, find_target):
        with pytest.raises(SettingsError) as caught:
            load(**given)
        message = str(caught.value)
        assert message.startswith("no ")
        assert f"set SMSCODE_{missing.upper()}, or {missing} in smscode.toml" in message


def test_the_error_for_a_missing_secret_is_a_sentence() -> None:
    with pytest.raises(
        SettingsError, match=r"^no master secret: set SMSCODE_MASTER_SECRET, or master_secret in smscode"
    ):
        load_target(base_url="http://h", app_key="key")


# What can't be used.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "sms.example"),
        ("base_url", f"http://key:{SECRET}@h"),
        ("app_key", "a:b"),
        ("temp_id", SECRET),
        ("temp_id", -1),
        ("temp_id", 1.5),
    ],
)
def test_the_error_for_an_invalid_value_names_the_setting_and_hides_the_value(
    folder: Path, name: str, value: object
) -> None:
    write_toml(folder, **(GIVEN | {name: value}))
    check_line(f"invalid {name} in smscode.toml: expected ")


@pytest.mark.parametrize("value", ["12345678", "['the-master-secret']", "{a = 'the-master-secret'}"])
def test_the_error_for_a_secret_that_is_not_text_hides_it(folder: Path, value: str) -> None:
    (folder / "smscode.toml").write_text(f"master_secret = {value}")
    check_line("invalid master_secret in smscode.toml: expected text")


def test_the_error_for_an_invalid_value_names_the_variable_the_file_or_the_argument_that_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "smscode.toml").write_text('[service]\nport = 70000\nrules = ["often"]\n')
    with pytest.raises(
        SettingsError, match=r"^invalid port in \[service\] of smscode.toml: expected a whole number from"
    ):
        load_service(rules=("1/60s",))
    with pytest.raises(SettingsError, match=r"^invalid rules in \[service\] of smscode.toml: expected COUNT/DURATION"):
        load_service(port=1)
    write_env(folder, port="many")
    with pytest.raises(SettingsError, match=r"^invalid SMSCODE_PORT in .env: expected a whole number from 0 to 65535$"):
        load_service(rules=("1/60s",))
    monkeypatch.setenv("SMSCODE_PORT", "-1")
    with pytest.raises(SettingsError, match=r"^invalid SMSCODE_PORT: expected a whole number from 0 to 65535$"):
        load_service(rules=("1/60s",))
    with pytest.raises(SettingsError, match=r"^invalid port: expected a whole number from 0 to 65535$"):
        load_service(port="some", rules=("1/60s",))


@pytest.mark.parametrize(
    "text",
    [
        f"master_secret = {SECRET}",
        f'master_secret = "{SECRET}',
        f'master_secret = "{SECRET}"\nmaster_secret = "x"',
        "[",
        "a",
    ],
)
def test_the_error_for_invalid_toml_hides_the_content(folder: Path, text: str) -> None:
    (folder / "smscode.toml").write_text(text)
    check_line("smscode.toml")


@pytest.mark.parametrize("name", ["smscode.toml", ".env"])
def test_the_error_for_a_binary_file_is_one_line(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe")
    check_line(name)


def test_the_error_for_a_folder_in_place_of_the_file_is_one_line(folder: Path) -> None:
    (folder / "smscode.toml").mkdir()
    check_line("smscode.toml")


def test_the_error_for_a_misspelt_setting_suggests_the_right_one(folder: Path) -> None:
    write_toml(folder, master_secert=SECRET)
    check_line("master_secret?")


def test_the_error_for_an_unknown_setting_lists_the_known_ones(folder: Path) -> None:
    write_toml(folder, zzz=1)
    check_line("base_url, app_key, master_secret, temp_id")


def test_the_error_for_a_misspelt_setting_of_a_table_names_the_table(folder: Path) -> None:
    (folder / "smscode.toml").write_text("[service]\nprot = 1")
    check_line("[service] of smscode.toml (did you mean port?)")


def test_the_error_for_a_value_in_place_of_a_table_is_one_line(folder: Path) -> None:
    write_toml(folder, service=1)
    check_line("[service]")


def check_line(part: str) -> None:
    """Loading fails with one line that holds ``part``, and shows no secret, not even in its traceback."""
    with pytest.raises(SettingsError) as caught:
        load_target()
    message = str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert part in message
    assert "\n" not in message
    assert not [secret for secret in (SECRET, "12345678", "pydantic_core") if secret in shown]


def test_a_target_shows_no_secret() -> None:
    assert SECRET not in repr(TARGET)


def test_a_price_is_exact_and_says_its_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_price() is None
    Path("smscode.toml").write_text('price_per_send = "0.045"\n')
    assert load_price() == Price(Decimal("0.045"), "CNY")
    monkeypatch.setenv("SMSCODE_CURRENCY", "EUR")
    assert load_price() == Price(Decimal("0.045"), "EUR")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "free"])
def test_what_is_no_price_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SMSCODE_PRICE_PER_SEND", text)
    with pytest.raises(SettingsError, match="SMSCODE_PRICE_PER_SEND"):
        load_price()
