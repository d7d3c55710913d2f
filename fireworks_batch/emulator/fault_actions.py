"""Spoil an answer or a connection on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .answers import Answer, answer_html, answer_json
from .refusals import body_for_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .faults import Fault

GARBAGE: Final = b'\x00\x01{"name": "accounts/\xff\xfe'
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def spoilt_answer(fault: Fault) -> Answer:
    """Give the answer of a `status`, `html` or `garbage` fault."""
    match fault.action:
        case "html":
            answer = answer_html(fault.status, _title(fault.status))
        case "garbage":
            answer = Answer(fault.status, GARBAGE)
        case _ if fault.body is not None:
            content_type = "application/json" if fault.is_json else "text/plain; charset=utf-8"
            answer = Answer(fault.status, fault.body, content_type)
        case _:
            answer = answer_json(body_for_status(fault.status), status=fault.status)
    answer.headers = fault.headers
    return answer


def reset_connection(request: web.BaseRequest) -> web.Response:
    """Reset the connection; the response is for the server's book-keeping and goes nowhere."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
    response = web.Response()
    response.force_close()
    return response


async def send_part(
    request: web.BaseRequest, headers: Mapping[str, str], answer: Answer, size: int
) -> web.StreamResponse:
    """Promise the whole body, send at most *size* bytes of it, and close."""
    body = answer.source
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    with closing(body.first(max(0, min(size, len(body) - 1))).chunks()) as chunks:
        for chunk in chunks:
            await response.write(chunk)
    return response


def _title(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
