"""Requests made of prompts, messages, images and records, instead of JSON by hand."""

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from string import Formatter
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict

import attrs
import orjson

from fireworks_batch.files.lines import LONGEST_LINE
from fireworks_batch.files.threads import reported
from fireworks_batch.models.errors import ConfigurationError, RowProblem, shown
from fireworks_batch.models.texts import did_you_mean
from fireworks_batch.models.validators import instance_of, number, whole_number
from fireworks_batch.runs.request_rows import RowRules, check_row
from fireworks_batch.runs.requests import json_line

__all__ = ["ContentPart", "Message", "chat", "chats"]


class ContentPart(TypedDict):
    """A part of a message's content, as a dict: a text, or an image."""

    type: Literal["text", "image_url"]
    """The kind of the part."""

    text: NotRequired[str]
    """The text, if the kind is ``"text"``."""

    image_url: NotRequired[Mapping[str, str]]
    """The image, if the kind is ``"image_url"``: ``{"url": …}``."""


class Message(TypedDict):
    """A message of a request, as a dict."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who the message is from."""

    content: NotRequired[str | Sequence[ContentPart] | None]
    """A text, or parts."""

    tool_calls: NotRequired[Sequence[Mapping[str, Any]]]
    """The calls of tools that an answer of the assistant asked for."""

    tool_call_id: NotRequired[str]
    """The call that a message of a tool answers."""

    reasoning_content: NotRequired[str]
    """The reasoning of an answer of the assistant."""


@attrs.frozen(kw_only=True)
class _UsualMembers:
    """The members of a body whose values are checked before the server sees them."""

    tools: Any = attrs.field(
        validator=attrs.validators.optional(instance_of((list, tuple), "a list of tools"))
    )
    response_format: Any = attrs.field(
        validator=attrs.validators.optional(
            instance_of(Mapping, "a mapping, as in {'type': 'json_object'}")
        )
    )
    max_tokens: Any = attrs.field(validator=attrs.validators.optional(whole_number()))
    temperature: Any = attrs.field(validator=attrs.validators.optional(number(least=0)))
    top_p: Any = attrs.field(validator=attrs.validators.optional(number(least=0, most=1)))
    top_k: Any = attrs.field(validator=attrs.validators.optional(whole_number(least=0)))
    n: Any = attrs.field(validator=attrs.validators.optional(whole_number()))
    reasoning_effort: Any = attrs.field(
        validator=attrs.validators.optional(
            instance_of((str, int), "a word, as in 'low', or a number of tokens")
        )
    )


def chat(
    custom_id: str,
    prompt_or_messages: str | Sequence[Message],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    tools: Sequence[Mapping[str, Any]] | None = None,
    response_format: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    n: int | None = None,
    reasoning_effort: str | int | None = None,
    **body: Any,
) -> dict[str, Any]:
    """Make one request, for `BatchClient.check`, `BatchClient.submit` and `BatchClient.run`.

    The request is checked as `BatchClient.check` checks a row. Image files are read by this call,
    which blocks: in an event loop, use ``await asyncio.to_thread(chat, …)`` for large images.

    Args:
        custom_id: The id of the request, by which its response is found: a string that is not
            empty, and that no other request of the run has.

        prompt_or_messages: The text of one message of the user, or the messages of a conversation,
            at least one.

        images: Images for the last message of the user, after its text: paths of PNG, JPEG, GIF,
            BMP, TIFF or PPM files, which become part of the request, or ``http``, ``https`` and
            ``data`` URLs, which are passed on unchecked. A request has at most 16 MiB, and a file
            grows by a third in it. The vendor documents less: 30 images, and 10 MB for all files.

        tools: The tools that the model may call, in the form of the chat completions API.

        response_format: The form of the answer, as in ``{"type": "json_object"}``.

        max_tokens: Most tokens of the response, at least 1.

        temperature: The sampling temperature, at least 0.

        top_p: Sample only from the likeliest tokens whose probabilities add up to this, 0 to 1.

        top_k: Sample only from this many of the likeliest tokens.

        n: Choices of the response, at least 1.

        reasoning_effort: How much a reasoning model reasons: a word that the model knows, as in
            ``"low"``, or a number of tokens.

        body: Any other members of the request's body, as in ``seed=7``. The server refuses a member
            that the chat completions API does not have.

    Returns:
        The request: a new dict of JSON values, with ``custom_id`` and ``body``. An argument that is
        None is left out of the body, and the job's ``inference_parameters`` apply.

    Raises:
        ConfigurationError: The id is empty, there is no message, a role is not one of system, user,
            assistant and tool, a value is out of range or is no JSON, ``stream`` is true, an image
            file is empty or of an unknown type, or the request is too large.
        LocalFileError: An image file cannot be read.
    """
    if "messages" in body:
        raise ConfigurationError("give the messages as the second argument, not as messages=")
    usual = _UsualMembers(
        tools=tools,
        response_format=response_format,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        n=n,
        reasoning_effort=reasoning_effort,
    )
    members = attrs.asdict(usual, recurse=False) | body
    messages = _with_images(_messages(prompt_or_messages), images)
    given = {name: value for name, value in members.items() if value is not None}
    return _checked({"custom_id": custom_id, "body": {"messages": messages, **given}})


def _messages(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise ConfigurationError(
            f"give a prompt as a string, or a list of messages, not {shown(given)}"
        )
    return [*given]


def _checked(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request as plain JSON values, or raise what the check of a run would find."""
    named = f"request {shown(request['custom_id'])}"
    try:
        line = json_line(request)
    except (TypeError, ValueError) as exc:
        members = {"custom_id": request["custom_id"], **request["body"]}
        wrong = (name for name, value in members.items() if not _is_json({name: value}))
        member = next(wrong, "body")  # too deep only as a whole
        raise ConfigurationError(
            f"{named}: {shown(member)} cannot be written as JSON: {exc}"
        ) from None
    found = check_row(line, 1, RowRules())
    if isinstance(found, RowProblem):
        raise ConfigurationError(f"{named}: {found.reason}")
    if len(line) > LONGEST_LINE:
        raise ConfigurationError(
            f"{named} has {len(line) / 1024**2:.1f} MiB, and a request has at most "
            f"{LONGEST_LINE // 1024**2} MiB: make images smaller, or give their URLs"
        )
    plain: dict[str, Any] = orjson.loads(line)
    return plain


def _is_json(members: Mapping[str, Any]) -> bool:
    try:
        json_line(members)
    except (TypeError, ValueError):
        return False
    return True


# --- Images -------------------------------------------------------------------------------------


# The types that the vendor's guide to vision models names, by what their files begin with.
_IMAGES: Final = tuple(
    (media_type, re.compile(begins, re.DOTALL))
    for media_type, begins in (
        ("image/png", rb"\x89PNG\r\n\x1a\n"),
        ("image/jpeg", rb"\xff\xd8\xff"),
        ("image/gif", rb"GIF8[79]a"),
        ("image/bmp", rb"BM.{4}\0{4}"),
        ("image/tiff", rb"II\*\0|MM\0\*"),
        ("image/x-portable-pixmap", rb"P[36]\s"),
    )
)
_URL: Final = re.compile(r"https?://|data:", re.IGNORECASE)
# Two letters at least: a path of Windows begins with one letter and a colon.
_OTHER_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def _with_images(messages: list[Any], images: Any) -> list[Any]:
    """Return messages with images in the last message of the user."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes | bytearray):
        raise ConfigurationError(f"images must be a list of paths and URLs, not {shown(images)}")
    if not images:
        return messages
    of_user = [
        index
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and message.get("role") == "user"
    ]
    if not of_user:
        raise ConfigurationError("images need a message with the role 'user', and there is none")
    message = messages[of_user[-1]]
    content = message.get("content") or []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise ConfigurationError(
            f"the content of a message must be a string or a list of parts, not {shown(content)}"
        )
    added = [{"type": "image_url", "image_url": {"url": _url_of(image)}} for image in images]
    messages[of_user[-1]] = {**message, "content": [*content, *added]}
    return messages


def _url_of(image: Any) -> str:
    if isinstance(image, str):
        if _URL.match(image):
            return image
        if found := _OTHER_SCHEME.match(image):
            raise ConfigurationError(
                f"image {shown(image)}: {found[0]} URLs are not read; give a path, or an http, "
                "https or data URL"
            )
    elif not isinstance(image, os.PathLike):
        raise ConfigurationError(f"an image must be a path or a URL, not {shown(image)}")
    return _embedded(Path(image))


def _embedded(path: Path) -> str:
    """Return a file as a data URL."""
    name = str(path)
    with reported("read", name):
        size = path.stat().st_size
        if size > LONGEST_LINE:
            raise ConfigurationError(
                f"image {name!r} has {size / 1024**2:.1f} MiB, and a request has at most "
                f"{LONGEST_LINE // 1024**2} MiB: make the image smaller, or give its URL"
            )
        data = path.read_bytes()
    if not data:
        raise ConfigurationError(f"image {name!r} is an empty file")
    media_type = next((kind for kind, begins in _IMAGES if begins.match(data)), None)
    if media_type is None:
        raise ConfigurationError(
            f"image {name!r} is no PNG, JPEG, GIF, BMP, TIFF or PPM file: convert the image, or "
            "give a data URL, which is passed on unchecked"
        )
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


# --- Records ------------------------------------------------------------------------------------


def chats(
    records: Iterable[Mapping[str, Any]],
    template: str,
    *,
    id_column: str | None = None,
    **body: Any,
) -> Iterator[dict[str, Any]]:
    """Make a request of each record: of the rows of a ``csv.DictReader``, say.

    Args:
        records: The records: mappings whose keys are the names of columns. They are read one by one
            while the requests are.

        template: The prompt, with names of columns in braces: ``"Summarise: {text}"``. A brace of
            the text is doubled: ``{{``. A name may have a conversion or a format, as in
            ``{price:.2f}``. Attributes, indexes and positions are refused, so that a template may
            come from other people.

        id_column: The column with the ids of the requests: strings that are not empty, or whole
            numbers. `BatchClient.run` refuses an id that occurs twice. None numbers the requests in
            the order of the records: ``"row-00000001"`` and so on, ids whose order is the order of
            the records.

        body: The members of the body of each request, as in `chat`: ``max_tokens=100``. Images are
            the images of each request.

    Returns:
        An iterator of requests, one for each record, in their order. It can be read once.

    Raises:
        ConfigurationError: The template or the body is wrong. While the iterator is read: a record
            has no column of a name in the template, no value in that column (None, NaN), or no id.
    """
    pieces = _pieces(template)
    _check_records(records)
    # What is wrong with the body is wrong at once, for all records.
    sample = chat("row", "prompt", **body)["body"]
    return _requests(records, pieces, id_column, sample)


def _check_records(records: Any) -> None:
    if not isinstance(records, Iterable) or isinstance(records, Mapping | str | bytes):
        raise ConfigurationError(
            f"records must be mappings, as csv.DictReader gives them, not {shown(records)}"
        )


def _requests(
    records: Iterable[Mapping[str, Any]],
    pieces: Sequence["_Piece"],
    id_column: str | None,
    sample: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    content = sample["messages"][0]["content"]
    images = content[1:] if isinstance(content, list) else None
    for count, record in enumerate(records, 1):
        if not isinstance(record, Mapping):
            raise ConfigurationError(
                f"record {count} must be a mapping, as csv.DictReader gives it, "
                f"not {shown(record)}; for a data frame there is integrations.arrow.requests"
            )
        custom_id = f"row-{count:08}" if id_column is None else _id_of(record, id_column, count)
        prompt: Any = _filled(pieces, record, count)
        if images:
            prompt = [{"type": "text", "text": prompt}, *images]
        message = {"role": "user", "content": prompt}
        yield {"custom_id": custom_id, "body": {**sample, "messages": [message]}}


def _id_of(record: Mapping[str, Any], column: str, count: int) -> str:
    if column not in record:
        raise ConfigurationError(_lacks(record, count, column, "which its id is to come from"))
    value = record[column]
    if isinstance(value, bool) or not isinstance(value, str | Integral) or value == "":
        raise ConfigurationError(
            f"record {count}: the id, in the column {column!r}, must be a string that is not empty "
            f"or a whole number, not {shown(value)}"
        )
    return value if isinstance(value, str) else str(int(value))


_Piece: TypeAlias = tuple[str, str | None, str | None, str | None]
"""A text, and the name, format and conversion of the value after it. No name: no value."""

_FORMATTER: Final = Formatter()
_CONVERSIONS: Final = (None, "r", "s", "a")
# A width of a billion would fill the memory.
_FIVE_DIGITS: Final = re.compile(r"\d{5}")


def _pieces(template: Any) -> list[_Piece]:
    if not isinstance(template, str):
        raise ConfigurationError(f"template must be a string, not {shown(template)}")
    try:
        pieces = [*_FORMATTER.parse(template)]
    except ValueError as exc:
        raise ConfigurationError(
            f"template {shown(template)}: {exc}; a brace of the text is doubled: '{{{{'"
        ) from None
    fields = [(name, spec, conversion) for _, name, spec, conversion in pieces if name is not None]
    if not fields:
        raise ConfigurationError(
            f"template {shown(template)} names no column, as in '{{text}}': all requests would be "
            "the same"
        )
    for name, spec, conversion in fields:
        problem = _problem(name, spec or "", conversion)
        if problem is not None:
            raise ConfigurationError(f"template {shown(template)}: {{{name}}} {problem}")
    return pieces


def _problem(name: str, spec: str, conversion: str | None) -> str | None:
    if not name or name.isdigit():
        return "is a position: write the name of a column, as in {text}"
    if "." in name or "[" in name:
        return (
            "is an attribute or an index, which a template may not read: a name is the name of a "
            "column, without '.' and '['"
        )
    if "{" in spec:
        return f"has the format {spec!r}, which names another column"
    if _FIVE_DIGITS.search(spec):
        return f"has the format {spec!r}, which is too wide"
    if conversion not in _CONVERSIONS:
        return f"has the conversion {conversion!r}; there are r, s and a"
    return None


def _filled(pieces: Sequence[_Piece], record: Mapping[str, Any], count: int) -> str:
    texts: list[str] = []
    for text, name, spec, conversion in pieces:
        texts.append(text)
        if name is not None:
            texts.append(_formatted(record, count, name, spec or "", conversion))
    return "".join(texts)


def _formatted(
    record: Mapping[str, Any], count: int, name: str, spec: str, conversion: str | None
) -> str:
    if name not in record:
        hint = "" if name.isidentifier() else " (a brace of the text is doubled: '{{')"
        raise ConfigurationError(_lacks(record, count, name, f"which the template names{hint}"))
    value = record[name]
    if _is_missing(value):
        raise ConfigurationError(
            f"record {count} has no value for {{{name}}}, only {shown(value)}: leave the record "
            "out, or give it a text"
        )
    try:
        return format(_FORMATTER.convert_field(value, conversion), spec)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"record {count}: {shown(value)} cannot be formatted as {{{name}:{spec}}}: {exc}"
        ) from None


def _is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, and the NA of pandas."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124 - only NaN differs from itself
    except TypeError:  # NA is neither true nor false
        return True
    except ValueError:  # an array is neither, and is a value
        return False


def _lacks(record: Mapping[str, Any], count: int, name: str, why: str) -> str:
    names = [*map(str, record)]
    columns = ", ".join(names) or "none"
    hint = did_you_mean(name, names)
    return f"record {count} has no column {name!r}, {why}; its columns: {columns}{hint}"
