"""What can go wrong, by what the caller can do about it.

- ToolkitError
  - InputError              an argument that can't be sent or used: mend the call
  - SettingsError           a setting that is missing or unusable: mend the configuration
  - RunError                a program of the toolkit (service, load test) can't start or go on
  - StoreError              the service's store can't keep a decision in time: nothing was charged
  - CallError               a call that gave no success
    - TransportError        no answer arrived; a send may have been accepted all the same
      - NotConnectedError   the connection was never made, so nothing was sent: calling again is safe
    - ProtocolError         an answer arrived, and it isn't the API's
    - ReturnCodeError       the API refused

No message holds a whole mobile, a code or a secret.
"""

from __future__ import annotations

from toolkit.api.return_codes import Kind, find, kind_of


class ToolkitError(Exception):
    """The root of everything the toolkit raises on purpose."""


class InputError(ToolkitError, ValueError):
    """An argument that can't be sent or used."""


class SettingsError(ToolkitError):
    """A setting that is missing or unusable; the message names it and where it can be given."""


class RunError(ToolkitError):
    """A program of the toolkit can't start or go on; the message says what to do."""


class StoreError(ToolkitError):
    """The store can't keep a decision in time; nothing was charged."""


class CallError(ToolkitError):
    """A call that gave no success."""


class TransportError(CallError):
    """No answer arrived in time. Whether the API acted is not known, so a send is never repeated for it."""


class NotConnectedError(TransportError):
    """The connection was never made: nothing was sent, and calling again is safe."""


class ProtocolError(CallError):
    """An answer that isn't the API's, such as a proxy's HTML page.

    ``http_status`` is the answer's, ``body`` its first 100 bytes.
    """

    def __init__(self, problem: str, http_status: int, body: bytes) -> None:
        self.http_status = http_status
        self.body = body[:100]
        super().__init__(f"not an answer of the API: {problem} (HTTP {http_status}, body starts {self.body!r})")


class ReturnCodeError(CallError):
    """A refusal by the API.

    ``return_code`` is a number, a ``ReturnCode`` where the table knows it; ``message`` is the API's wording;
    ``retry_after_s`` says in how many whole seconds a send would be in frequency again, ``request_id`` what the
    service's log calls the request, where the answer told.
    """

    def __init__(
        self,
        return_code: int,
        http_status: int,
        message: str,
        retry_after_s: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.return_code = find(return_code) or return_code
        self.http_status = http_status
        self.message = message
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        super().__init__(f"{int(return_code)} {message} (HTTP {http_status})")

    @property
    def kind(self) -> Kind | None:
        """Who can act, or None where the table doesn't know the code."""
        return kind_of(self.return_code)
