"""Machines of one network, each a network namespace with an address of its own; no privilege of the host is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

_NETWORK = "10.99.0"


@dataclass
class Network:
    """A switch, as a namespace, with machines at 10.99.0.N."""

    switch: subprocess.Popen[bytes]
    machines: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def inside(self, process: subprocess.Popen[bytes], *command: str) -> list[str]:
        """Return the command that runs another one in a namespace."""
        return ["nsenter", f"--target={process.pid}", "--user", "--net", "--preserve-credentials", *command]

    def add(self, number: int, stack: ExitStack) -> str:
        """Add a machine and return its address."""
        machine = stack.enter_context(_holder(*self.inside(self.switch, "unshare", "--net")))
        self.machines[number] = machine
        port, address = f"port{number}", f"{_NETWORK}.{number}"
        self._ip(self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        self._ip(self.switch, "link", "set", port, "master", "switch", "up")
        self._ip(machine, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip(machine, "link", "set", device, "up")
        return address

    def connect(self, number: int, is_connected: bool) -> None:
        """Pull or plug the cable of a machine."""
        self._ip(self.switch, "link", "set", f"port{number}", "up" if is_connected else "down")

    def popen(
        self, number: int, *command: str, env: Mapping[str, str], **streams: IO[Any] | int
    ) -> subprocess.Popen[str]:
        """Start a program on a machine. ``streams``: its stdout and stderr."""
        words = self.inside(self.machines[number], *command)
        return subprocess.Popen(words, env={**os.environ, **env}, text=True, **streams)

    def output(self, number: int, *command: str) -> str:
        """Run a program on a machine and return what it printed."""
        words = self.inside(self.machines[number], *command)
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=240).stdout

    def _ip(self, process: subprocess.Popen[bytes], *words: str) -> None:
        subprocess.run(self.inside(process, "ip", *words), check=True, capture_output=True, timeout=240)


@contextmanager
def network() -> Iterator[Network]:
    """Make a network until the block ends."""
    with _holder("unshare", "--user", "--map-root-user", "--net") as switch:
        made = Network(switch)
        made._ip(switch, "link", "add", "switch", "type", "bridge")
        made._ip(switch, "link", "set", "switch", "up")
        yield made


@contextmanager
def _holder(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a new namespace until the block ends: by a process in it that reports that it is there, and then waits."""
    words = [*command, "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            process.kill()
