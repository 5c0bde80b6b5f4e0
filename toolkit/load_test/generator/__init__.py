"""The load generator. It runs inside the locust process: importing its modules patches the process with gevent."""

import asyncio
import sys


def _has_event_loop() -> bool:
    """Return whether an event loop runs in this thread, or in another one because the process is a Jupyter kernel."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        kernels = sys.modules.get("ipykernel.kernelapp")
        return kernels is not None and bool(kernels.IPKernelApp.initialized())
    return True


if _has_event_loop():
    raise ImportError(
        "the load generator can't be imported where an asyncio event loop runs, such as in a notebook: gevent would"
        " freeze it. Start a load test in a process of its own, with `smscode load` or toolkit.load_and_report"
    )
