"""Advice on each return code, and on each failure of a call without a response."""

from __future__ import annotations

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

HINTS: dict[ReturnCode, str] = {
    ReturnCode.SUCCESS: "Nothing: the call succeeded.",
    ReturnCode.MISSING_AUTH: "Send the app key and the master secret as Basic authorization with each call.",
    ReturnCode.AUTH_FAILED: "Check the app key and the master secret. A suspended app gets the same code.",
    ReturnCode.MISSING_BODY: "Send a JSON object as the body.",
    ReturnCode.MISSING_MOBILE: "Add the mobile to the body.",
    ReturnCode.MISSING_TEMP_ID: "Add the template's number to the body as temp_id.",
    ReturnCode.INVALID_MOBILE: "Use a mainland mobile of 11 digits, with or without +86.",
    ReturnCode.INVALID_BODY: "Send a JSON object in UTF-8, of at most 16 KiB.",
    ReturnCode.NO_SMS_CODE_AUTH: "Ask the vendor to enable sending codes for the app.",
    ReturnCode.OUT_OF_FREQ: "Wait before sending another code to this mobile. Retry-After is the number of seconds.",
    ReturnCode.INVALID_CODE: "Enter the code of the latest message. After too many wrong codes, send a new one.",
    ReturnCode.EXPIRED_CODE: "Send a new code: this one is too old, or too many wrong codes were entered.",
    ReturnCode.VERIFIED_CODE: "Nothing if it was verified before: a code is valid once. Otherwise send a new one.",
    ReturnCode.INVALID_TEMP_ID: "Use a template that belongs to this app and is enabled.",
    ReturnCode.NO_MONEY: "Top up the app's balance.",
    ReturnCode.MISSING_CODE: "Add the code to the body.",
    ReturnCode.API_NOT_FOUND: "Check the base URL and the path: the API has no such endpoint.",
    ReturnCode.MEDIA_NOT_SUPPORTED: "Set the header Content-Type: application/json.",
    ReturnCode.METHOD_NOT_SUPPORT: "Use POST.",
    ReturnCode.SERVER_ERROR: "Check the service's log. A message may have been sent: check before sending again.",
}

FAILURE_HINTS: dict[Failure, str] = {
    Failure.CONNECT: "Check the base URL, and that the service is running. Nothing was sent: calling again is safe.",
    Failure.TIMEOUT: "Check the service. A message may have been sent, so don't repeat a send without checking.",
    Failure.RESET: "Check the service and the proxies in front of it. A message may have been sent.",
    Failure.PROTOCOL: "Check the base URL: the response is not from the API but perhaps from a proxy.",
    Failure.CANCELLED: "The call was cancelled. A message may have been sent.",
}

UNKNOWN = "The API's table does not list this code: ask the vendor."
