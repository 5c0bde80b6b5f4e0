"""`smscode send`, `verify`, `codes` and `mobile-key`: make the API's calls, list its codes, look up a mobile's key."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.cli.output import Json, show, show_json
from toolkit.runs.exit_codes import ExitCode

BaseUrl = Annotated[
    str | None,
    typer.Option("--target", help="The API's base URL. Default: SMSCODE_BASE_URL, or base_url in smscode.toml."),
]
AppKey = Annotated[
    str | None, typer.Option(help="The app's key. Default: SMSCODE_APP_KEY, or app_key in smscode.toml.")
]
TempId = Annotated[
    int | None, typer.Option(help="The template's number. Default: SMSCODE_TEMP_ID, temp_id in smscode.toml, else 1.")
]


def send(
    mobile: Annotated[str, typer.Argument(help="Mainland mobile, 11 digits, with or without +86.")],
    temp_id: TempId = None,
    target: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Send a code to a mobile and print its msg_id. The secret is read from SMSCODE_MASTER_SECRET."""
    from toolkit.client import Client
    from toolkit.settings import load_target

    aim = load_target(base_url=target, app_key=app_key, temp_id=temp_id)
    with Client(aim.base_url, aim.app_key, aim.master_secret) as client:
        sent = client.send_code(mobile, aim.temp_id)
    show_json({"msg_id": sent.msg_id}) if as_json else print(sent.msg_id)


def verify(
    msg_id: Annotated[str, typer.Argument(help="The msg_id that the send printed.")],
    code: Annotated[str, typer.Argument(help="The code that was typed.")],
    target: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Verify a typed code: exit 0 if it is right, 1 if it is wrong. The secret is read from SMSCODE_MASTER_SECRET."""
    from toolkit.client import Client
    from toolkit.settings import load_target

    aim = load_target(base_url=target, app_key=app_key)
    with Client(aim.base_url, aim.app_key, aim.master_secret) as client:
        verdict = client.verify_code(msg_id, code)
    if as_json:
        answer = {"is_valid": verdict.is_valid, "return_code": int(verdict.return_code), "message": verdict.message}
        show_json(answer)
    else:
        print(f"{verdict.return_code:d} {verdict.message}")
    raise SystemExit(0 if verdict.is_valid else ExitCode.REFUSED)


def codes(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table. Default: off.")] = False,
) -> None:
    """List the API's return codes with their meaning and kind."""
    print(markdown_table()) if markdown else show(code_rows(), as_json)


def mobile_key(
    mobile: Annotated[str, typer.Argument(help="Mainland mobile, 11 digits, with or without +86.")],
    as_json: Json = False,
) -> None:
    """Print the key that a mobile has in reports and records. The app's secret is read from SMSCODE_MASTER_SECRET."""
    from toolkit.api.wire import parse_mobile
    from toolkit.records import call_record
    from toolkit.settings import load_master_secret

    if not (secret := load_master_secret()):
        raise InputError("no master secret: set SMSCODE_MASTER_SECRET, or master_secret in smscode.toml")
    if (digits := parse_mobile(mobile)) is None:
        raise InputError("invalid MOBILE: expected 11 digits that begin with 1, e.g. 13800138000")
    key = call_record.mobile_key(digits, secret)
    show([{"key": call_record.short_key(key), "mobile_key": str(key)}], as_json)


def code_rows() -> list[dict[str, Any]]:
    """Return the table of return codes: http_status, return_code, message, meaning, kind."""
    return [
        {
            "http_status": row.http_status,
            "return_code": int(row),
            "message": row.message,
            "meaning": row.meaning,
            "kind": row.kind.value,
        }
        for row in ReturnCode
    ]


def markdown_table() -> str:
    """Return the table of return codes in Markdown, as the README shows it."""
    lines = ["| HTTP | code | message | Chinese | who can act |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(value) for value in row.values())} |" for row in code_rows())])
