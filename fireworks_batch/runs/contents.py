"""What rows hold, in numbers from which a price can be estimated. Performs no I/O."""

from collections.abc import Mapping
from typing import Any

import attrs
import orjson

__all__ = ["ContentCounter", "JobDefaults", "RowContents"]


@attrs.frozen(kw_only=True)
class RowContents:
    """What the good rows of a check hold, in numbers."""

    characters: int = 0
    """The number of characters that the model reads.

    These are the texts of messages, the tools and the response format as JSON, and the system
    prompt of the job for each row that does not begin with a system message.
    """

    bytes: int = 0
    """The size of these characters in UTF-8. A token stands for one byte at least."""

    messages: int = 0
    """The number of messages, the system prompts of the job among them."""

    token_ids: int = 0
    """The number of token ids in ``prompt_token_ids``."""

    images: int = 0
    """The number of parts of messages that are not text."""

    max_tokens: int = 0
    """The most tokens that the model can write, over all rows with a limit.

    A row with ``n`` choices counts ``n`` times.
    """

    unlimited_rows: int = 0
    """The number of rows for which neither the row nor the job has ``max_tokens``."""


@attrs.frozen(kw_only=True)
class JobDefaults:
    """What the job says for rows that do not say it themselves."""

    system_prompt: str = ""
    """The system message; empty for none."""

    max_tokens: int | None = None
    """The most tokens of a choice; None for no limit."""

    choices: int = 1
    """The number of choices (``n``)."""


class ContentCounter:
    """Counts the contents of rows, one after the other."""

    def __init__(self, defaults: JobDefaults) -> None:
        """Begin with nothing counted.

        Args:
            defaults: What the job says for rows that do not say it themselves.
        """
        self._defaults = defaults
        self._characters = self._bytes = self._messages = self._token_ids = self._images = 0
        self._prompt_bytes = len(defaults.system_prompt.encode(errors="replace"))
        self._max_tokens = self._unlimited_rows = 0

    def add(self, line: bytes) -> None:
        """Count a good row, as it is sent."""
        body = orjson.loads(line)["body"]
        messages = body.get("messages") or ()
        self._messages += len(messages)
        for message in messages:
            self._add_content(message.get("content"))
            self._add_content(message.get("reasoning_content"))
            self._add_json(message.get("tool_calls"))
        if messages and self._prompt_bytes and messages[0]["role"] != "system":
            self._messages += 1
            self._characters += len(self._defaults.system_prompt)
            self._bytes += self._prompt_bytes
        self._token_ids += len(body.get("prompt_token_ids") or ())
        self._add_json(body.get("tools"))
        self._add_json(body.get("response_format"))
        self._add_limit(body)

    def made(self) -> RowContents:
        """Return what was counted."""
        return RowContents(
            characters=self._characters,
            bytes=self._bytes,
            messages=self._messages,
            token_ids=self._token_ids,
            images=self._images,
            max_tokens=self._max_tokens,
            unlimited_rows=self._unlimited_rows,
        )

    def _add_content(self, content: object) -> None:
        if isinstance(content, str):
            self._add_text(content)
        for part in content if isinstance(content, list) else ():
            text = part.get("text") if isinstance(part, Mapping) else part
            if isinstance(text, str):
                self._add_text(text)
            else:
                self._images += 1

    def _add_text(self, text: str) -> None:
        self._characters += len(text)
        self._bytes += len(text) if text.isascii() else len(text.encode(errors="replace"))

    def _add_json(self, value: object) -> None:
        if value:
            self._add_text(orjson.dumps(value).decode())

    def _add_limit(self, body: Mapping[str, Any]) -> None:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        limit = _number(limit) or self._defaults.max_tokens
        if limit is None:
            self._unlimited_rows += 1
        else:
            self._max_tokens += limit * (_number(body.get("n")) or self._defaults.choices)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
