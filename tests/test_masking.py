from pathlib import Path

import pytest

from toolkit.masking import mask, mask_text


@pytest.mark.parametrize(
    "name",
    ["master_secret", "SMSCODE_MASTER_SECRET", "password", "token", "Authorization", "digest-key", "code", "api_key"],
)
def test_a_setting_named_like_a_secret_is_masked(name):
    assert mask({name: "hunter2"}) == {name: "***"}
    assert mask({"target": [{name: {"deep": 1}}]}) == {"target": [{name: "***"}]}


@pytest.mark.parametrize("name", ["app_key", "return_code", "rate_per_s", "codes"])
def test_other_settings_are_shown(name):
    assert mask({name: "open"}) == {name: "open"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("13800138000", "1380013****"),
        ("+8613800138000 and 19900050014", "+861380013**** and 1990005****"),
        ("mobile=13800138000,", "mobile=1380013****,"),
        ("started 1793966400000000000", "started 1793966400000000000"),
        ("http://app:pw@host:80/v1", "http://***@host:80/v1"),
        ("Basic YXBwOnNlY3JldA==", "Basic ***"),
        ("basic load", "basic load"),
    ],
)
def test_mobiles_and_credentials_are_masked_in_any_text(text, shown):
    assert mask_text(text) == shown
    assert mask({"note": [text]}) == {"note": [shown]}


def test_a_mobile_given_as_a_number_or_as_a_name_is_masked():
    assert mask({"mobile": 13800138000, "13800138000": 1}) == {"mobile": "1380013****", "1380013****": 1}


def test_values_without_a_json_form_become_text_or_null():
    assert mask({"path": Path("a/b"), "rate": float("nan"), "cap": float("inf"), "set": {1}}) == {
        "path": "a/b",
        "rate": None,
        "cap": None,
        "set": [1],
    }
    assert mask({"on": True, "none": None, "n": 3, "r": 1.5}) == {"on": True, "none": None, "n": 3, "r": 1.5}
