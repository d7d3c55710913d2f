"""Refusals of requests, in the forms of the real server."""

from typing import Final

from fireworks_batch.emulator.http.answers import Answer, answer_json

CODES: Final = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}

STATUSES: Final = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each gRPC code. Documented."""

_CODE_OF_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RefusalError(Exception):
    """The server refuses a request."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status: int = STATUSES[code] if status is None else status

    def answer(self) -> Answer:
        """Return the refusal as the JSON of the gRPC gateway."""
        return answer_json(status_body(self.code, self.message), status=self.status)


def invalid(message: str) -> RefusalError:
    """Return the refusal of an argument (400, code 3)."""
    return RefusalError("INVALID_ARGUMENT", message)


def status_body(code: str, message: str) -> dict[str, object]:
    """Return the error object of the gRPC gateway, as one source saw it live."""
    return {"code": CODES[code], "message": message, "details": []}


def body_for_status(status: int) -> dict[str, object]:
    """Return an error object for an HTTP status."""
    code = _CODE_OF_STATUS.get(status, "UNKNOWN")
    return status_body(code, f"emulated {status}")


def edge_refusal(status: int, message: str, request_id: str) -> Answer:
    """Return a refusal of the front end, in the envelope that one source saw for a bad key."""
    error = {"message": message, "param": None, "code": "UNAUTHORIZED", "type": "error"}
    return answer_json({"error": error, "request_id": request_id}, status=status)
