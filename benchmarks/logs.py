"""Measure how many lines of each log format are read per second of CPU: `python benchmarks/logs.py [--lines N]`."""

import argparse
import tempfile
import time
from pathlib import Path

from toolkit.analysis.sources.log_reader import LogReader

_REQUEST = "POST /v1/codes HTTP/1.1"
_TIMES = [(place // 60 % 60, place % 60) for place in range(3_600)]
_FORMATS = {
    "combined": lambda m, s: f'1.2.3.4 - k [06/Nov/2026:10:{m:02}:{s:02} +0000] "{_REQUEST}" 200 48 "-" "curl/8.5.0"',
    "common": lambda m, s: f'1.2.3.4 - k [06/Nov/2026:10:{m:02}:{s:02} +0000] "{_REQUEST}" 200 48',
    "ALB": lambda m, s: (
        f"https 2026-11-06T10:{m:02}:{s:02}.123456Z app/a/1 1.2.3.4:5 10.0.0.1:80 0.000 0.021 0.000 200 200 34 366"
        f' "{_REQUEST}" "curl/8.5.0" - - -'
    ),
    "JSON": lambda m, s: (
        f'{{"time": "2026-11-06T10:{m:02}:{s:02}Z", "request": "{_REQUEST}", "status": 200, "request_time": 0.021}}'
    ),
    "CSV": lambda m, s: f"2026-11-06T10:{m:02}:{s:02}Z,send,50000,21",
}
_HEADERS = {"CSV": "started,endpoint,return_code,latency_ms"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("| format | lines per CPU second |\n|---|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in _FORMATS.items():
            path = Path(folder) / f"{name}.{'csv' if name == 'CSV' else 'log'}"
            lines = [_HEADERS[name]] if name in _HEADERS else []
            lines += [make(*_TIMES[place % len(_TIMES)]) for place in range(given.lines)]
            path.write_text("\n".join(lines) + "\n")
            best = 0.0
            for _ in range(given.rounds):
                began_s = time.process_time()
                record = LogReader().read(str(path), lambda _: None)
                best = max(best, given.lines / (time.process_time() - began_s))
                assert record.calls == given.lines, record
            print(f"| {name} | {best:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
