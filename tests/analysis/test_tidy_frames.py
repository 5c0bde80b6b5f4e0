import pandas as pd
import pyarrow as pa

from toolkit.analysis.tidy_frames import tidy


def test_frames_are_merged_by_return_code_and_it_stays_a_whole_number():
    one, two = (tidy(pa.table({"return_code": pa.array(it, pa.int64())})) for it in ([50000, 50009], [50009, None]))
    for how in ("inner", "outer", "left"):
        assert one.merge(two, how, on="return_code")["return_code"].dtype == "Int64"
    assert one.merge(pd.DataFrame({"return_code": [50009]}), on="return_code")["return_code"].tolist() == [50009]


def test_sums_wider_than_64_bits_become_whole_numbers():
    assert str(tidy(pa.table({"total": pa.array([2**40]).cast(pa.decimal128(38, 0))}))["total"].dtype) == "int64"
