"""What the service itself and nginx in front of it wrote of the same calls is what the client recorded of them."""

import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from support.programs import require
from support.service import running

from toolkit import Client, ReturnCodeError, analysis
from toolkit.analysis.sources.log_formats import COMBINED
from toolkit.api.return_codes import ReturnCode

NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    log_format body '{body}';
    log_format json escape=json '{{"time_iso8601":"$time_iso8601","request":"$request","status":"$status",'
        '"request_time":"$request_time","remote_user":"$remote_user","request_body":"$request_body",'
        '"sent_http_x_request_id":"$sent_http_x_request_id","agent":"$http_user_agent"}}';
    access_log {folder}/body.log body; access_log {folder}/json.log json;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; }} }}
}}
"""
BODY = f'{COMBINED} "$request_body" $request_time'
SAME = ["endpoint", "http_status", "msg_id", "msg_key", "app_key"]


def wait_for_port(port):
    while True:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)


@contextmanager
def nginx(url, folder):
    """Run nginx in front of a service until the block ends, and yield its URL."""
    require("nginx", "nginx-light")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, url=url, body=BODY))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Make calls through nginx; return the folder of the logs, what the client recorded, and the secret."""
    folder, records = tmp_path_factory.mktemp("logs"), []
    with ExitStack() as stack:
        stderr = stack.enter_context((folder / "service.log").open("w"))
        service = stack.enter_context(running("--log-calls", stderr=stderr))
        url = stack.enter_context(nginx(service.url, folder))
        client = stack.enter_context(Client(url, service.app_key, service.master_secret, on_call=records.append))
        sent = client.send_code("13800138000", service.temp_id)
        for code in ("000000", service.peek(sent.msg_id), service.peek(sent.msg_id)):
            client.verify_code(sent.msg_id, code)
        for mobile in ("13800138000", "19900050014", "12"):
            with pytest.raises(ReturnCodeError):
                client.send_code(mobile, service.temp_id)
    return folder, analysis.from_records(records), service.master_secret


def _rows(frame, columns):
    """Return rows in no order: nginx's clock has whole seconds."""
    rows = frame[columns].astype(object)
    return sorted(rows.where(rows.notna(), None).values.tolist(), key=str)


def test_the_services_log_gives_the_recorded_calls(logged):
    folder, recorded, _ = logged
    calls = analysis.read(folder / "service.log")
    assert _rows(calls.to_pandas(), [*SAME, "return_code"]) == _rows(recorded, [*SAME, "return_code"])
    (source,) = calls.sources
    assert (source.unread_rows, source.others) == (0, {"another request": 2})  # peeks
    refused = ReturnCode.OUT_OF_FREQ
    ids = [set(it.loc[it["return_code"] == refused, "request_id"]) for it in (calls.to_pandas(), recorded)]
    assert ids[0] == ids[1]
    assert ids[0] != {None}


@pytest.mark.parametrize(("name", "options"), [("json.log", {}), ("body.log", {"log_format": BODY})])
def test_nginxs_access_logs_give_the_recorded_calls(name, options, logged):
    folder, recorded, secret = logged
    calls = analysis.read(folder / name, master_secret=secret, **options)
    same = ["endpoint", "http_status", "app_key", "mobile_key", "prefix", "temp_id"]
    assert _rows(calls.to_pandas(), same) == _rows(recorded, same)
    codes = calls.to_pandas()["return_code"].dropna().tolist()
    assert codes == [50000, 50000]  # nginx knows no return codes, but what a 200 means
    assert abs(calls.to_pandas()["started_ns"].min() - recorded["started_ns"].min()) < 1.1e9  # its clock has seconds


def test_nginx_and_the_service_log_the_same_request_id(logged):
    folder, _, _ = logged
    ids = [set(analysis.read(folder / name).to_pandas()["request_id"]) for name in ("json.log", "service.log")]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 7


def test_no_whole_mobile_of_a_log_is_kept(logged):
    folder, _, _ = logged
    for name in ("json.log", "service.log"):
        text = analysis.read(folder / name).to_pandas().to_csv()
        assert "13800138000" not in text
