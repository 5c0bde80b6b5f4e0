import pandas as pd
import pyarrow as pa

from toolkit.analysis.tidy_frames import code_dtype, tidy


def test_return_codes_are_categories_of_the_api_and_of_the_data():
    dtype = code_dtype(pd.Series([59031, None, 50009], dtype="Int64"))
    assert (dtype.categories[0], dtype.categories[-1], len(dtype.categories)) == (50000, 59031, 21)


def test_sums_wider_than_64_bits_become_whole_numbers():
    assert str(tidy(pa.table({"total": pa.array([2**40]).cast(pa.decimal128(38, 0))}))["total"].dtype) == "int64"
