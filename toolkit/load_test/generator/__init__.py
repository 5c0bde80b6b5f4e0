"""The load generator. It runs inside the locust process: importing its modules patches the process with gevent."""

import asyncio

try:
    asyncio.get_running_loop()
except RuntimeError:
    pass
else:
    raise ImportError(
        "the load generator can't be imported where an asyncio event loop runs, such as in a notebook: gevent would"
        " freeze it. Start a load test in a process of its own, with `smscode load` or toolkit.load_and_report"
    )
