"""The receiver of texts that docs/guides/delivery.md gives, as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs/guides/delivery.md"
SECRET = "the webhook's secret"


@contextmanager
def documented_receiver(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the receiver until the block ends; yield its URL and its process."""
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    (tmp_path / "receiver.py").write_text(example[1], encoding="utf-8")
    command = [sys.executable, str(tmp_path / "receiver.py"), "0"]
    environment = os.environ | {"WEBHOOK_SECRET": SECRET}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}/texts", process
        finally:
            process.terminate()
