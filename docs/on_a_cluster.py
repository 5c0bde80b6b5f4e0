"""Analyse calls with Spark on the cluster that stores them; only small frames are returned.

    spark-submit --master yarn docs/on_a_cluster.py 'hdfs:///sms/calls/2026-11-*/'
    spark-submit --master k8s://https://cluster:6443 --deploy-mode client docs/on_a_cluster.py s3a://bucket/calls/

Install `sms-code-toolkit[cluster]` where the script runs. The executors don't need it, because all work is Spark SQL.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from toolkit import analysis


def main(*paths: str) -> None:
    """Print outcomes and latencies of the calls in some folders of Parquet files."""
    spark = SparkSession.builder.appName("sms-code-toolkit").getOrCreate()
    calls = spark.read.parquet(*paths)
    for frame in (
        analysis.return_codes(calls),
        analysis.latency(calls, by=("endpoint", "app_key")),
        analysis.latency(calls, every="1h", method="histogram"),  # histograms of the executors are added up
    ):
        print(frame.to_string(), "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
