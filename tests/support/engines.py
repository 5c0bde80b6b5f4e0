"""The same calls in every engine that the analysis is held to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from functools import cache
from typing import Any

import duckdb
import pandas as pd
from support.programs import require

from toolkit.analysis import from_records
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import to_table

ENGINES = ("pandas", "duckdb", "polars", "spark")
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # half the CPU time for short queries
}


def needs_java() -> None:
    """Skip the test if Java is not installed."""
    require("java", "openjdk-17-jre-headless")


@cache
def spark() -> Any:
    """Start Spark in this process, on this machine alone."""
    needs_java()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PySpark, on pandas 3
        from pyspark.sql import SparkSession

        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        builder = SparkSession.builder.master("local[2]").appName("sms-code-toolkit")
        for name, value in SETTINGS.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()


def stop_spark() -> None:
    """End Spark if this process started it, and wait for its JVM, so that its CPU time is counted."""
    if spark.cache_info().currsize:
        jvm = spark().sparkContext._gateway.proc
        spark().stop()
        jvm.stdin.close()
        jvm.wait(240)


def _in_pandas(path: str) -> pd.DataFrame:
    return pd.read_parquet(path, dtype_backend="numpy_nullable")


def _in_duckdb(path: str) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().read_parquet(path)


def _in_polars(path: str) -> Any:
    import polars as pl

    return pl.scan_parquet(path)


def _in_spark(path: str) -> Any:
    return spark().read.parquet(path)


def in_polars(records: Iterable[CallRecord]) -> Any:
    """Return call records as a polars frame, which answers a query of a few rows in a third of the time of pandas."""
    import polars as pl

    return pl.from_arrow(to_table(astuple(it) for it in records)).lazy()


def in_an_engine(records: Sequence[CallRecord]) -> Any:
    """Return call records as a frame: of pandas if their number is divisible by 5, else of polars.

    Hypothesis draws all numbers of calls, thus what it checks holds in both engines.
    """
    return in_polars(records) if len(records) % 5 else from_records(records)


OPEN: dict[str, Callable[[str], Any]] = dict(zip(ENGINES, (_in_pandas, _in_duckdb, _in_polars, _in_spark), strict=True))
