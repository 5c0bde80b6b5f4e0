"""Make the README's picture again: a real run's report, photographed by headless Chromium. Run it from anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CHROMIUM = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars"


def main() -> None:
    """Load a sandbox, and photograph the report."""
    chromium = shutil.which("chromium") or sys.exit("chromium is missing: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "toolkit", "load", "--out", folder, "--seed", "1"], check=True)
        page = next(Path(folder).glob("*/report.html"))
        picture = HERE / "report.png"
        options = [f"--user-data-dir={folder}/profile", "--window-size=1280,1500", f"--screenshot={picture}"]
        subprocess.run([chromium, *CHROMIUM.split(), *options, page.as_uri()], check=True, capture_output=True)
    print(picture)


if __name__ == "__main__":
    main()
