"""When a master misses a worker. The script runs in a process of its own: importing locust patches it."""

from __future__ import annotations

import json
import subprocess
import sys

_SCRIPT = """
import json, os, subprocess
from types import SimpleNamespace
from locust.runners import STATE_RUNNING
from toolkit.load_test.generator.locust_plugin import worker_takeover

children = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
nodes = [SimpleNamespace(id=f"worker-{child.pid}", heartbeat=4) for child in children]
runner = SimpleNamespace(state=STATE_RUNNING, clients=SimpleNamespace(all=nodes), register_message=lambda *_: None)
options = SimpleNamespace(sms_lost_s=None)
detector = worker_takeover.LostWorkerDetector(SimpleNamespace(parsed_options=options), runner)
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
children[1].kill()
print(json.dumps(seen))
"""


def test_a_forked_worker_is_missed_at_the_first_look_and_a_silent_one_after_two_heartbeats() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=240)
    assert json.loads(done.stdout) == [
        [4, 4, None],
        [-1, 4, 101.0],  # at the first look after it has ended
        [-1, 4, None],  # its share was taken over long ago
        [-1, 2, 108.0],  # a worker of another machine, or one that is stuck: from its last heartbeat on
    ]
