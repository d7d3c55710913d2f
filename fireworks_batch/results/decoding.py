"""What `decode=` may be, and the function that makes the output of a row from it."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, get_origin

import attrs
import orjson

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.results.rows import (
    INVALID_OUTPUT,
    UNDECODABLE,
    ResultRow,
    decode_row,
    text_of,
)
from fireworks_batch.wire.codec import response_reader

__all__ = ["Decode", "Decoder", "Output", "read_decode", "read_response_format"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Output(Protocol[_T_co]):
    """Says which form the text of a response is to have, and reads the text.

    ``integrations.pydantic.output`` makes such an object from a model of pydantic.
    """

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """The ``response_format`` of rows that bring none; None to leave rows as they are."""
        ...

    def read(self, text: str, /) -> _T_co:
        """Return the output that a text stands for.

        Args:
            text: The text of a response (`ResultRow.text`).

        Raises:
            Exception: The text does not fit. Any exception becomes the error of the row.
        """
        ...


Decode: TypeAlias = type[_T] | Callable[[dict[str, Any]], _T] | Output[_T]
"""How outputs are made: a type, a function of the response, or an object that reads the text."""


@attrs.frozen
class Decoder:
    """Makes the outputs of rows."""

    read: Callable[[dict[str, Any]], Any]
    """Makes the output of a response."""

    code: str
    """The code of the error of a row whose response the function refuses."""

    @property
    def is_retryable(self) -> bool:
        """Whether another response to the same row may fit."""
        return self.code == INVALID_OUTPUT

    def decoded(self, row: ResultRow[None]) -> ResultRow[Any]:
        """Return a row with its output, or with the error that there is none."""
        return decode_row(row, self.read, self.code)


def read_decode(decode: Any) -> Decoder | None:
    """Return what makes the outputs. For a type, outputs are of that type.

    Raises:
        ConfigurationError: The argument is neither an object that reads texts, nor a function, nor
            a type that cattrs can make.
    """
    if decode is None or isinstance(decode, Decoder):
        return decode
    if isinstance(decode, type) or get_origin(decode) is not None:
        return Decoder(response_reader(decode), UNDECODABLE)
    if _is_output(decode):
        return Decoder(partial(_read_text, decode.read), INVALID_OUTPUT)
    if callable(decode):
        return Decoder(decode, UNDECODABLE)
    raise ConfigurationError(
        "decode must be a type, a function, or an object with response_format and read(text), not "
        f"{decode!r}"
    )


def _is_output(decode: Any) -> bool:
    return hasattr(decode, "response_format") and callable(getattr(decode, "read", None))


def _read_text(read: Callable[[str], Any], response: dict[str, Any]) -> Any:
    text = text_of(response)
    if text is None:
        raise ValueError("the response has no text")
    return read(text)


def read_response_format(decode: Any) -> str:
    """Return the response format that rows without one are given, as JSON; empty for none.

    Raises:
        ConfigurationError: The response format is not a mapping that JSON can express.
    """
    if decode is None or isinstance(decode, type) or not _is_output(decode):
        return ""
    wanted = decode.response_format
    if wanted is None:
        return ""
    if not isinstance(wanted, Mapping):
        raise ConfigurationError(
            f"decode: response_format must be a mapping or None, not {wanted!r}"
        )
    try:
        text = json.dumps(dict(wanted), ensure_ascii=False, allow_nan=False)
        orjson.dumps(json.loads(text))  # which writes the rows, and takes no larger numbers
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigurationError(
            f"decode: response_format cannot be written as JSON: {exc}"
        ) from exc
    return text
