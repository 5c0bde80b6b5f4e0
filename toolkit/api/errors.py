"""Define the exceptions of the toolkit, one class for each reaction of the caller.

- ToolkitError
  - InputError              an argument is invalid: correct the call
  - SettingsError           a setting is missing or invalid: correct the configuration
  - RunError                a program of the toolkit (service, load test) can't start or continue
  - StoreError              the service's store can't save a decision in time: nothing was charged
  - CallError               a call did not succeed
    - TransportError        no response arrived; a send may have been accepted nevertheless
      - NotConnectedError   no connection was made, so nothing was sent: retrying is safe
    - ProtocolError         the response isn't the API's
    - ReturnCodeError       the API refused the call

No message contains a whole mobile, a code or a secret.
"""

from __future__ import annotations

from toolkit.api.return_codes import Kind, find, kind_of


class ToolkitError(Exception):
    """The base class of all exceptions that the toolkit raises on purpose."""


class InputError(ToolkitError, ValueError):
    """An argument is invalid."""


class SettingsError(ToolkitError):
    """A setting is missing or invalid. The message names the setting and where to set it."""


class RunError(ToolkitError):
    """A program of the toolkit can't start or continue. The message suggests a remedy."""


class StoreError(ToolkitError):
    """The service's store can't save a decision in time. Nothing was charged."""


class CallError(ToolkitError):
    """A call did not succeed."""


class TransportError(CallError):
    """No response arrived in time. The API may have acted on the call, so the clients never retry it."""


class NotConnectedError(TransportError):
    """No connection was made, so nothing was sent. Retrying is safe."""


class ProtocolError(CallError):
    """A response that isn't the API's, such as a proxy's HTML page.

    Attributes:
        http_status: the response's HTTP status.
        body: the first 100 bytes of its body.
        retry_after_s: whole seconds after which a gateway asks to try again; None if the response didn't say.

    """

    def __init__(self, problem: str, http_status: int, body: bytes, retry_after_s: int | None = None) -> None:
        self.problem = problem
        self.http_status = http_status
        self.body = body[:100]
        self.retry_after_s = retry_after_s
        super().__init__(f"not a response of the API: {problem} (HTTP {http_status}, body starts {self.body!r})")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problem, self.http_status, self.body, self.retry_after_s)


class ReturnCodeError(CallError):
    """The API refused the call.

    Attributes:
        return_code: a ``ReturnCode``, or a number that isn't in the table.
        http_status: the response's HTTP status.
        message: the API's text.
        retry_after_s: whole seconds until the rate limit allows another send; None if the response didn't say.
        request_id: the id of the request in the service's log; None if the response didn't say.

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

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.return_code, self.http_status, self.message, self.retry_after_s, self.request_id)

    @property
    def kind(self) -> Kind | None:
        """The kind of the response, or None if it is unknown; see ``return_codes.kind_of``."""
        return kind_of(self.return_code, self.http_status)
