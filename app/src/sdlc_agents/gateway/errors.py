"""Refusals in the shape of the Messages API, so that the CLI shows them as what they are.

https://docs.claude.com/en/api/errors
"""

from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


class GatewayError(Exception):
    """The gateway's own answer to a request; `retry` says whether asking again can help."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after

    @property
    def kind(self) -> str:
        """The API's name for this kind of error."""
        return _TYPES.get(self.status, "api_error")

    def document(self) -> dict[str, Any]:
        """The body."""
        return {"type": "error", "error": {"type": self.kind, "message": f"LLM gateway: {self.message}"}}

    def headers(self) -> dict[str, str]:
        """`x-should-retry` is what Anthropic's clients go by before they look at the status."""
        if self.retry_after is None:
            return {"x-should-retry": "false"}
        return {"x-should-retry": "true", "retry-after": str(self.retry_after)}
