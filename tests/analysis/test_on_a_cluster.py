"""docs/on_a_cluster.py is what it says: Spark's own launcher runs it, in its local mode here."""

import os
import subprocess
import sys
from pathlib import Path

from support.engines import needs_java
from support.random_calls import write_random_calls

from toolkit import analysis

SCRIPT = Path(__file__).parents[2] / "docs" / "on_a_cluster.py"


def test_the_script_for_a_cluster_prints_outcomes_and_latencies(tmp_path):
    needs_java()
    write_random_calls(tmp_path / "calls.parquet", 2_000)
    submit = Path(sys.executable).with_name("spark-submit")
    quiet = ["--conf", "spark.ui.enabled=false", "--conf", "spark.driver.bindAddress=127.0.0.1"]
    done = subprocess.run(
        [submit, "--master", "local[2]", *quiet, str(SCRIPT), str(tmp_path)],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert analysis.return_codes(analysis.read(tmp_path)).to_string() in done.stdout
