"""Explain the calls that lie on a cluster, where they lie: what comes back is small frames, not calls.

    spark-submit --master yarn docs/on_a_cluster.py 'hdfs:///sms/calls/2026-11-*/'
    spark-submit --master k8s://https://cluster:6443 --deploy-mode client docs/on_a_cluster.py s3a://bucket/calls/

Where the script runs there is `pip install 'sms-code-toolkit[cluster]'`; the executors need nothing of it, as all the
work is Spark's own SQL.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from toolkit import analysis


def main(*places: str) -> None:
    """Print what the calls say."""
    spark = SparkSession.builder.appName("sms-code-toolkit").getOrCreate()
    calls = spark.read.parquet(*places)
    for frame in (
        analysis.return_codes(calls),
        analysis.latency(calls, by=("endpoint", "app_key")),
        analysis.latency(calls, every="1h", method="histogram"),  # adds up over executors, within 0.5 %
    ):
        print(frame.to_string(), "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
