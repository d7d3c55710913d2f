"""The answers to rows: a responder makes them, and output files have them in their lines."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.http.refusals import STATUSES
from fireworks_batch.emulator.jobs.rows import RowFailureError

Response: TypeAlias = str | Mapping[str, Any] | RowFailureError
Responder: TypeAlias = Callable[[str, dict[str, Any]], Response | Awaitable[Response]]
"""A function, plain or async, that gets the ``custom_id`` and the body of a request.

It returns the text of the assistant, or the whole response. It returns or raises a
`RowFailureError` to make the row fail. Any other exception makes the row fail with code 500.
"""

_CODE_NAMES: Final = {status: code for code, status in reversed(STATUSES.items())}


def echo(_: str, body: dict[str, Any]) -> str:
    """Answer with the text of the last message."""
    messages = body.get("messages")
    content = messages[-1].get("content") if messages else body.get("prompt_token_ids")
    return content if isinstance(content, str) else orjson.dumps(content).decode()


async def respond(
    responder: Responder, custom_id: str, body: dict[str, Any], created: int
) -> Mapping[str, Any]:
    """Return the response to a row.

    Args:
        responder: Answers the row.

        custom_id: The id of the row.

        body: The body of the request.

        created: The Unix time in a response that is made of a text.

    Raises:
        RowFailureError: The row fails.
    """
    try:
        given = responder(custom_id, body)
        response: object = await given if inspect.isawaitable(given) else given
    except RowFailureError:
        raise
    except Exception as error:  # noqa: BLE001  # it stands in the error row
        raise RowFailureError(f"{type(error).__name__}: {error}", 500) from None
    if isinstance(response, RowFailureError):
        raise response
    if isinstance(response, str):
        return _completion(custom_id, body, response, created)
    if isinstance(response, Mapping):
        return response
    raise RowFailureError(f"TypeError: a responder cannot give {type(response).__name__}", 500)


def success_line(custom_id: str, response: Mapping[str, Any], rules: Assumptions) -> bytes:
    """Return a line of the result file.

    Raises:
        RowFailureError: The response cannot be written as JSON.
    """
    shown: Mapping[str, Any] = response
    if rules.response_shape == "wrapped":
        shown = {"status_code": 200, "request_id": f"req-{custom_id}", "body": response}
    try:
        return orjson.dumps({"custom_id": custom_id, "response": shown}) + b"\n"
    except orjson.JSONEncodeError as error:
        raise RowFailureError(f"TypeError: {error}", 500) from None


def failure_line(custom_id: str, failure: RowFailureError, rules: Assumptions) -> bytes:
    """Return a line of the error file."""
    shape = rules.error_shape
    error: object = failure.message
    if shape == "string_code":
        code = _CODE_NAMES.get(failure.code, "UNKNOWN")
        error = {"code": code, "message": failure.message}
    elif shape == "int_code":
        error = {"code": failure.code, "message": failure.message}
    elif shape == "no_code":
        error = {"message": failure.message}
    return orjson.dumps({"custom_id": custom_id, "error": error}) + b"\n"


def _completion(custom_id: str, body: Mapping[str, Any], text: str, created: int) -> dict[str, Any]:
    count = body.get("n") or 1
    prompt = sum(len(str(m.get("content", ""))) for m in body.get("messages") or ()) // 4 + 1
    completion = (len(text) // 4 + 1) * count
    return {
        "id": f"chatcmpl-{custom_id}",
        "object": "chat.completion",
        "created": created,
        "model": body.get("model", ""),
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for index in range(count)
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
