"""When a master misses a worker. The script runs in a process of its own: importing locust patches it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_SCRIPT = """
import json, os, subprocess
from types import SimpleNamespace
from locust.event import EventHook
from locust.runners import STATE_MISSING, STATE_RUNNING
from toolkit.load_test.generator.locust_plugin import worker_takeover

children = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
nodes = [SimpleNamespace(id=f"worker-{child.pid}", heartbeat=4, state=STATE_RUNNING) for child in children]

class Clients(dict):
    all = property(dict.values)

clients, sent = Clients({node.id: node for node in nodes}), []
runner = SimpleNamespace(
    state=STATE_RUNNING, clients=clients, register_message=lambda *_: None,
    worker_indexes={node.id: index for index, node in enumerate(nodes)},
    send_message=lambda message, client_id: sent.append([message, client_id == nodes[1].id]),
)
options, events = SimpleNamespace(sms_lost_s=None), SimpleNamespace(worker_report=EventHook())
detector = worker_takeover.LostWorkerDetector(SimpleNamespace(parsed_options=options, events=events), runner)
for node, child in zip(nodes, children):
    process = (child.pid, os.getpid(), worker_takeover.socket.gethostname())
    detector._on_process(SimpleNamespace(data=process, node_id=node.id))
seen = []
def look(now_s):
    detector.look(now_s)
    seen.append([*(node.heartbeat for node in nodes), options.sms_lost_s])
look(100.0)
children[0].kill()
os.waitid(os.P_PID, children[0].pid, os.WEXITED | os.WNOWAIT)
look(101.0)
look(108.0)
nodes[1].heartbeat = 2
look(109.0)
events.worker_report.fire(client_id=nodes[1].id, data={})
told_before = list(sent)
nodes[1].heartbeat, nodes[1].state = -1, STATE_MISSING
look(110.0)
events.worker_report.fire(client_id=nodes[1].id, data={})
children[1].kill()
print(json.dumps([seen, [told_before, sent, nodes[1].id in clients]]))
"""


def told() -> list[Any]:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=240)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_a_forked_worker_is_missed_at_the_first_look_and_a_silent_one_after_two_heartbeats() -> None:
    seen, _ = told()
    assert seen[:4] == [
        [4, 4, None],
        [-1, 4, 101.0],  # at the first look after it has ended
        [-1, 4, None],  # its share was taken over long ago
        [-1, 2, 108.0],  # a worker of another machine, or one that is stuck: from its last heartbeat on
    ]


def test_a_lost_worker_that_reports_again_is_told_to_end_and_is_not_let_back_in() -> None:
    _, (told_before, told_after, is_known) = told()
    assert told_before == []
    assert told_after == [["quit", True]]
    assert not is_known
