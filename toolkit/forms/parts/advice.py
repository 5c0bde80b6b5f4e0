"""Advice: what to do about an answer, code by code, and about a call that had none."""

from __future__ import annotations

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

HINTS: dict[ReturnCode, str] = {
    ReturnCode.SUCCESS: "Nothing: it worked.",
    ReturnCode.MISSING_AUTH: "Send the app key and the master secret as Basic authorization, on both calls.",
    ReturnCode.AUTH_FAILED: "Check the app key and the master secret; a suspended app is refused the same way.",
    ReturnCode.MISSING_BODY: "Send a JSON object as the body.",
    ReturnCode.MISSING_MOBILE: "Give the mobile.",
    ReturnCode.MISSING_TEMP_ID: "Give the template's number as temp_id.",
    ReturnCode.INVALID_MOBILE: "Give a mainland mobile of 11 digits, with or without +86.",
    ReturnCode.INVALID_BODY: "Send a JSON object in UTF-8, of at most 16 KiB.",
    ReturnCode.NO_SMS_CODE_AUTH: "Have the permission to send codes switched on for the app.",
    ReturnCode.OUT_OF_FREQ: "Wait before this mobile is sent another code; Retry-After says how long.",
    ReturnCode.INVALID_CODE: "Type the code of the latest message; after too many tries, send a new one.",
    ReturnCode.EXPIRED_CODE: "Send a new code: this one is too old, or its tries are used up.",
    ReturnCode.VERIFIED_CODE: "Nothing, if it was verified before: a code counts once. Else send a new one.",
    ReturnCode.INVALID_TEMP_ID: "Use a template that belongs to this app and is enabled.",
    ReturnCode.NO_MONEY: "Top up the app's balance.",
    ReturnCode.MISSING_CODE: "Give the code that was typed.",
    ReturnCode.API_NOT_FOUND: "Check the base URL and the path: there is no such call.",
    ReturnCode.MEDIA_NOT_SUPPORTED: "Say Content-Type: application/json.",
    ReturnCode.METHOD_NOT_SUPPORT: "Use POST.",
    ReturnCode.SERVER_ERROR: "Look at the service's log. A send may still have gone out: don't repeat it blindly.",
}

FAILURE_HINTS: dict[Failure, str] = {
    Failure.CONNECT: "Check the base URL, and that the service runs. Nothing was sent: calling again is safe.",
    Failure.TIMEOUT: "Look at the service. A send may have gone out all the same: don't repeat it blindly.",
    Failure.RESET: "Look at the service and at what lies before it. A send may have gone out all the same.",
    Failure.PROTOCOL: "Check the base URL: a proxy or another program seems to answer in the API's place.",
    Failure.CANCELLED: "The call was given up. A send may have gone out all the same.",
}

UNKNOWN = "The number is beyond the API's table: look it up with the vendor."
