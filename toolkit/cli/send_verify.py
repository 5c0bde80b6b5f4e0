"""`smscode send`, `verify`, `codes` and `mobile-key`: make the API's calls, list its codes, look up a mobile's key."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolkit.api import wire
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.cli.output import OUTPUT, Json, show, show_json
from toolkit.runs.exit_codes import ExitCode

TARGET = "Target"  # the group of these options

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="The API's base URL.",
        metavar="URL",
        show_default="SMSCODE_BASE_URL, or base_url in smscode.toml",
        rich_help_panel=TARGET,
    ),
]
AppKey = Annotated[
    str | None,
    typer.Option(
        help="The app's key.",
        metavar="KEY",
        show_default="SMSCODE_APP_KEY, or app_key in smscode.toml",
        rich_help_panel=TARGET,
    ),
]
TempId = Annotated[
    int | None,
    typer.Option(
        help="The template's number.",
        metavar="NUMBER",
        min=0,
        show_default="SMSCODE_TEMP_ID, temp_id in smscode.toml, else 1",
        rich_help_panel=TARGET,
    ),
]

Mobile = Annotated[
    str, typer.Argument(help="Mainland mobile, 11 digits, with or without +86.", metavar="MOBILE", show_default=False)
]


def send(
    mobile: Mobile,
    temp_id: TempId = None,
    base_url: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Send a code to a mobile and print its msg_id. The secret is read from SMSCODE_MASTER_SECRET.

    Examples:
        $ smscode send 13800138000
        0e1d7a43-57f1-4a12-9c6e-3e0f5b6d2a88

        $ smscode send +8613800138001 --temp-id 1 --json
        {"msg_id": "7b0c9d1e-20a4-4f6b-8a55-61c2f1d0e9b3"}

    """
    from toolkit.client import Client
    from toolkit.settings import load_target

    if wire.parse_mobile(mobile) is None:
        raise InputError(
            "invalid mobile: expected 11 digits of a mainland mobile, with or without +86, e.g. 13800138000"
        )
    aim = load_target(base_url=base_url, app_key=app_key, temp_id=temp_id)
    with Client(aim.base_url, aim.app_key, aim.master_secret) as client:
        sent = client.send_code(mobile, aim.temp_id)
    show_json({"msg_id": sent.msg_id}) if as_json else print(sent.msg_id)


def verify(
    msg_id: Annotated[str, typer.Argument(help="The msg_id that the send printed.", metavar="MSG_ID")],
    code: Annotated[str, typer.Argument(help="The code that was typed.", metavar="CODE")],
    base_url: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Verify a typed code: exit 0 if it is correct, 1 if not. The secret is read from SMSCODE_MASTER_SECRET.

    Examples:
        $ smscode verify 0e1d7a43-57f1-4a12-9c6e-3e0f5b6d2a88 123456
        50000 success

        $ smscode verify 0e1d7a43-57f1-4a12-9c6e-3e0f5b6d2a88 654321 --json
        {"is_valid": false, "return_code": 50010, "message": "invalid code"}

    """
    from toolkit.client import Client
    from toolkit.settings import load_target

    wire.verify_path(msg_id)
    aim = load_target(base_url=base_url, app_key=app_key)
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
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print a Markdown table.", show_default=False, rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """List the API's return codes with their meaning and kind.

    Examples:
        $ smscode codes
        http_status  return_code  message ...
                200        50000  success ...
        ...

        $ smscode codes --markdown
        | HTTP | code | message | Chinese | who can act |
        |---|---|---|---|---|
        | 200 | 50000 | success | 请求成功 | OK |
        ...

    """
    if as_json and markdown:
        raise InputError("--json and --markdown exclude one another: both print to stdout")
    print(markdown_table()) if markdown else show(code_rows(), as_json)


def mobile_key(mobile: Mobile, as_json: Json = False) -> None:
    """Print the key that a mobile has in reports and records. The app's secret is read from SMSCODE_MASTER_SECRET.

    Examples:
        $ smscode mobile-key 13800138000
        key  mobile_key
        ...

        $ smscode mobile-key 13800138000 --json
        [{"key": "...", "mobile_key": "..."}]

    """
    from toolkit.records import call_record
    from toolkit.settings import load_master_secret

    digits = _parse_mobile(mobile)
    if not (secret := load_master_secret()):
        raise InputError("no master secret: set SMSCODE_MASTER_SECRET, or master_secret in smscode.toml")
    key = call_record.mobile_key(digits, secret)
    show([{"key": call_record.short_key(key), "mobile_key": str(key)}], as_json)


def _parse_mobile(text: str) -> str:
    """Return the digits of a mobile; the error does not repeat the text, which may contain a mobile."""
    if (digits := wire.parse_mobile(text)) is None:
        raise InputError(
            "invalid mobile: expected 11 digits of a mainland mobile, with or without +86, e.g. 13800138000"
        )
    return digits


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
