"""The one error base: what went wrong as a status, a stable code and a sentence for the caller."""

from typing import ClassVar


class ServiceError(Exception):
    """An error that may be shown to whoever asked.

    `status` is its HTTP status, `code` a stable name for logs and programs, `message` the sentence in `{"error": …}`,
    `headers` what the answer carries beside it.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}


class InvalidRequestError(ServiceError):
    """The request cannot be understood; the message names the field."""

    status = 400
    code = "invalid_request"


class UnauthorizedError(ServiceError):
    """No credential came with the request, or a signature is wrong."""

    status = 401
    code = "unauthorized"


class ForbiddenError(ServiceError):
    """The credential is unknown or does not reach this far."""

    status = 403
    code = "forbidden"


class NotFoundError(ServiceError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class ConflictError(ServiceError):
    """Another thing of this name, or another state, stands in the way."""

    status = 409
    code = "conflict"


class PreconditionFailedError(ServiceError):
    """The thing was changed since the caller last saw it."""

    status = 412
    code = "precondition_failed"


class PayloadTooLargeError(ServiceError):
    """The body is larger than this service reads."""

    status = 413
    code = "payload_too_large"


class UnavailableError(ServiceError):
    """A dependency is away; the caller should come back after `retry_after` seconds."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after
