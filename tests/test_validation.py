"""The wording of pydantic's errors."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from toolkit.api.errors import InputError
from toolkit.validation import explain, load_json

EXPECTED = {"": {"rows": "[[rows]] above each row"}, "rows": {"size": "an integer, e.g. 3"}}


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int


class File(BaseModel):
    rows: list[Row]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"rows": [{"size": 1}, {"size": "x"}]},
            "[[rows]] number 2: invalid size 'x': expected an integer, e.g. 3",
        ),
        ({"rows": [{}]}, "[[rows]] number 1: size is missing: expected an integer, e.g. 3"),
        ({"rows": [{"sise": 1}]}, "[[rows]] number 1: unknown key 'sise' (did you mean size?)"),
        ({"rows": [7]}, "[[rows]] number 1: invalid 7: expected an object with the keys size"),
        ({"rows": 5}, "invalid rows 5: expected [[rows]] above each row"),
        ([], "invalid []: expected an object with the keys rows"),
    ],
)
def test_an_error_names_the_place_the_value_and_a_form_that_works(value: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        File.model_validate(value)
    assert explain(caught.value, EXPECTED) == said


def test_a_row_of_a_list_is_named_by_its_number() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[Row]).validate_python([{"size": 1}, {"size": None}])
    assert explain(caught.value, {"": EXPECTED["rows"]}) == "number 2: invalid size None: expected an integer, e.g. 3"


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ValidationError) as caught:
        File.model_validate({"rows": [{"size": "x" * 9000}]})
    assert len(explain(caught.value, EXPECTED)) < 150


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_a_file_that_is_not_json_is_an_input_error(text, tmp_path):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.json is not JSON: .*; correct or remove the file"):
        load_json(tmp_path / "a.json")
