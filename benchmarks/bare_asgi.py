"""An ASGI app that only parses JSON and answers, under uvicorn as in the service: the upper bound of the rate."""

import asyncio
import json
import socket
from typing import Any

import uvicorn
import uvloop

SENT, VERIFIED = b'{"msg_id":"06890980-6789-4054-bba9-90fb66ab2fce"}', b'{"is_valid":true}'


async def answer(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    reply = SENT if "temp_id" in json.loads(body) else VERIFIED
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


async def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(json.dumps({"url": url, "app_key": "key", "master_secret": "secret", "temp_id": 1}), flush=True)
    config = uvicorn.Config(
        answer,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
