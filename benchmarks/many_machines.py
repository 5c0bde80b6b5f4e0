"""Load a service from three machines, kill one and cut another off: `python benchmarks/many_machines.py`.

Needs Linux, iproute2 and util-linux; takes a minute. The machines are network namespaces with addresses of their own: a
master, three workers and the service, started as deploy/kubernetes/load-test starts them. One worker is killed, and the
network of another is cut for ten seconds. The table compares what the service has accepted with the budget, and with
the records of the workers.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from netns import Network, network

from toolkit.records.packed import PACKED_SUFFIX, PackedReader

LOAD_TEST = Path(__file__).parents[1] / "deploy/kubernetes/load-test"
MASTER, WORKERS, SERVICE = 1, (2, 3, 4), 10
RATE_PER_S, BUDGET, CUT_S = 60, 1800, 10
LOCUSTFILE = """
from toolkit.load_test.generator.steps import Send
from toolkit.load_test.generator.user import SmsCodeUser

def send(context):
    yield Send(context.next_mobile())

class Person(SmsCodeUser):
    tasks = [send]
"""


def command_of(name: str, folder: Path) -> list[str]:
    """Return the command of a manifest's container, with this test's locustfile and address in it."""
    *_, job = yaml.safe_load_all((LOAD_TEST / f"{name}.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    changes = {"/load/locustfile.py": str(folder / "send.py")}
    words = [changes.get(word, word) for word in (*container["command"], *container["args"])]
    return [word.replace("smscode-load-master", f"10.99.0.{MASTER}") for word in words]


def variables() -> dict[str, str]:
    """Return the variables of the manifest."""
    text = (LOAD_TEST / "kustomization.yaml").read_text(encoding="utf-8")
    literals = yaml.safe_load(text)["configMapGenerator"][0]["literals"]
    return dict(it.split("=", 1) for it in literals)


def answered(net: Network) -> Counter[tuple[str, str]]:
    """Return the calls that the service has answered, by endpoint and return code."""
    text = net.output(SERVICE, "curl", "-s", f"http://10.99.0.{SERVICE}:9018/metrics")
    counts: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if line.startswith("smscode_calls_total{"):
            labels = dict(it.split("=") for it in line[line.index("{") + 1 : line.index("}")].split(","))
            counts[labels["endpoint"].strip('"'), labels["return_code"].strip('"')] = int(float(line.rsplit(" ", 1)[1]))
    return counts


def wait_for_sends(net: Network, sends: int, log: Path) -> None:
    until_s = time.monotonic() + 60
    while answered(net)["send", "50000"] < sends:
        assert time.monotonic() < until_s, log.read_text(encoding="utf-8")
        time.sleep(0.2)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """Return the rows that a worker has recorded."""
    found = []
    for path in folder.glob(f"*{PACKED_SUFFIX}"):
        with path.open("rb") as file:
            found += list(PackedReader(file).rows())
    return found


def run(folder: Path) -> list[tuple[str, object]]:
    """Run the load test with its faults, and return the rows of the table."""
    (folder / "send.py").write_text(LOCUSTFILE, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as stack:
        net = stack.enter_context(network())
        for number in (MASTER, *WORKERS, SERVICE):
            net.add(number, stack)
        serve = ["serve", "--host", f"10.99.0.{SERVICE}", "--port", "8018", "--json", "--expose-sandbox"]
        serve += ["--admin-host", f"10.99.0.{SERVICE}", "--admin-port", "9018"]
        with (folder / "service.json").open("w+") as told:
            service = net.popen(SERVICE, sys.executable, "-m", "toolkit", *serve, env={}, stdout=told)
            stack.callback(service.wait)
            stack.callback(service.kill)
            while not (line := (folder / "service.json").read_text(encoding="utf-8").partition("\n")[0]):
                assert service.poll() is None
                time.sleep(0.1)
        app = json.loads(line[line.index("{") :])
        env = variables() | {
            "PATH": path,
            "LOCUST_HOST": f"http://10.99.0.{SERVICE}:8018",
            "SMSCODE_ALLOW_TARGET": f"10.99.0.{SERVICE}",
            "SMSCODE_STAGES": f"120s={RATE_PER_S}",
            "SMSCODE_MAX_MESSAGES": str(BUDGET),
            "SMSCODE_THRESHOLD": "ok_ratio(send) >= 0%",
            "SMSCODE_MAX_FAILED": "100%",
            "SMSCODE_MAX_DROPPED": "100%",
            "SMSCODE_APP_KEY": app["app_key"],
            "SMSCODE_MASTER_SECRET": app["master_secret"],
            "SMSCODE_TEMP_ID": str(app["temp_id"]),
        }
        log = stack.enter_context((folder / "master.log").open("w"))
        own = {"SMSCODE_RUN_DIR": str(folder / "master")}
        master = net.popen(MASTER, *command_of("master", folder), env=env | own, stdout=log, stderr=log)
        workers = []
        for number in WORKERS:
            own = {"SMSCODE_RUN_DIR": str(folder / f"worker-{number}")}
            workers.append(net.popen(number, *command_of("workers", folder), env=env | own, stdout=log, stderr=log))
        for process in (master, *workers):
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_for_sends(net, 200, folder / "master.log")
        workers[0].kill()
        wait_for_sends(net, 500, folder / "master.log")
        net.connect(WORKERS[1], False)
        time.sleep(CUT_S)  # the length of the cut is what is tried
        net.connect(WORKERS[1], True)
        code = master.wait(240)
        accepted = answered(net)["send", "50000"]
        for worker in workers[1:]:
            worker.wait(60)
    told = (folder / "master.log").read_text(encoding="utf-8")
    calls = {number: rows(folder / f"worker-{number}") for number in WORKERS}
    recorded = sum(row[3] == 50000 for each in calls.values() for row in each)
    unanswered = sum(row[12] in ("timeout", "reset", "cancelled") for each in calls.values() for row in each)
    killed, *survivors = (len(calls[number]) for number in WORKERS)
    counted = re.findall(r"Aggregated +(\d+) +\d+\(", told)
    due = Counter((row[0] - row[5]) // 1_000_000_000 for each in calls.values() for row in each)
    return [
        ("budget, messages", BUDGET),
        ("accepted by the service", accepted),
        ("accepted sends in the records", recorded),
        ("calls without an answer in the records", unanswered),
        ("calls in the records of the killed worker", killed),
        ("calls in the records of the two others", sum(survivors)),
        ("calls that the master counted", counted[0] if counted else "none"),
        ("journeys beyond the rate", sum(max(0, journeys - RATE_PER_S) for journeys in due.values())),
        ("exit code of the master", code),
    ]


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        for name, value in run(Path(place)):
            print(f"{name:45}{value:>10}")
