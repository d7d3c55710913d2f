"""Typed outputs: a response's text is validated as a model of pydantic, or another type."""

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from fireworks_batch import ConfigurationError
from fireworks_batch.integrations import needs

with needs("pydantic"):
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

__all__ = ["PydanticOutput", "output"]

_T = TypeVar("_T")


class PydanticOutput(Generic[_T]):
    """What `output` returns: pass it as ``decode=``."""

    def __init__(self, adapter: TypeAdapter[_T], response_format: Mapping[str, Any]) -> None:
        self._adapter = adapter
        self._response_format = response_format

    @property
    def response_format(self) -> Mapping[str, Any]:
        """The ``response_format`` of rows that bring none: the JSON schema of the type."""
        return self._response_format

    def read(self, text: str, /) -> _T:
        """Return the value that a text stands for.

        Args:
            text: The text of a response.

        Raises:
            pydantic.ValidationError: The text is not JSON, or the value does not fit the type.
        """
        return self._adapter.validate_json(text)

    def __repr__(self) -> str:
        return f"<PydanticOutput {self._response_format['json_schema']['name']}>"


def output(wanted: type[_T], *, name: str | None = None) -> PydanticOutput[_T]:
    """Return what to pass as ``decode=``, so that the outputs of rows have a type.

    The JSON schema of the type goes into each row that has no ``response_format``. So the schema is
    part of the run's identity: another schema makes other jobs. The server makes the model write
    JSON of this schema. The text of a response is then validated, by the rules of pydantic for
    JSON. The value is `ResultRow.output`. A text that does not fit makes the error
    ``"invalid_output"``: the message says what is wrong, and ``raw`` is the text. With
    ``retry_rows``, such a row runs again.

    Args:
        wanted: A model of pydantic, a dataclass, a TypedDict, or another type that pydantic can
            describe by a JSON schema.

        name: The name of the schema, 1 to 64 letters, digits, ``_`` or ``-``. The model may see the
            name. None means the name of the type.

    Raises:
        ConfigurationError: pydantic cannot describe the type, or the name is malformed.
    """
    try:
        adapter = TypeAdapter(wanted)
        schema = adapter.json_schema()
    except PydanticUserError as exc:
        raise ConfigurationError(f"pydantic has no JSON schema of {wanted!r}: {exc}") from exc
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", getattr(wanted, "__name__", ""))[:64] or "output"
    elif not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name, re.ASCII):
        raise ConfigurationError(
            f"name must have 1 to 64 letters, digits, '_' or '-', as in 'verdict', not {name!r}"
        )
    return PydanticOutput(
        adapter, {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    )
