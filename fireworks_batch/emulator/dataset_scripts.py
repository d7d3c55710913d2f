"""Read what a test says about datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from .control import ControlError, read_members, read_text
from .dataset_schema import DATASET
from .refusals import RefusalError
from .schema import read_members_of
from .stored_files import file_chunks

if TYPE_CHECKING:
    from .stored_files import StoredFile

Content: TypeAlias = bytes | Path


@attrs.frozen
class DatasetMembers:
    """A dataset as a test describes it."""

    files: Mapping[str, Content]
    fields: Mapping[str, object]
    account_id: str | None


@attrs.frozen
class FileMembers:
    """A file's new content."""

    content: Content
    account_id: str | None


def read_dataset_members(value: object) -> DatasetMembers:
    """Check a dataset given as an object.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_members("", value, ("files", "fields", "account_id"))
    files = members.get("files")
    if not isinstance(files, Mapping):
        raise ControlError("files", files, "an object")
    return DatasetMembers(
        {_read_name(name): _read_content(f"files.{name}", item) for name, item in files.items()},
        _read_fields(members.get("fields") or {}),
        _read_account(members),
    )


def read_file_members(value: object) -> FileMembers:
    """Check a file's new content.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_members("", value, ("content", "account_id"))
    return FileMembers(_read_content("content", members.get("content")), _read_account(members))


def content_chunks(content: Content) -> Iterable[bytes]:
    """Give a content bit by bit."""
    return [content] if isinstance(content, bytes) else file_chunks(content)


def count_lines(file: StoredFile) -> int:
    """Count the lines that are not blank."""
    return sum(1 for line in file.lines() if line.strip())


def _read_name(name: object) -> str:
    text = read_text("files", name)
    if "/" in text:
        raise ControlError("files", name, "a base name")
    return text


def _read_content(field: str, value: object) -> Content:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | Path):
        return value
    raise ControlError(field, value, "a text, bytes or a path")


def _read_fields(value: object) -> Mapping[str, object]:
    try:
        return read_members_of(DATASET, value)
    except RefusalError as error:
        raise ControlError("fields", value, f"members of a dataset: {error.message}") from None


def _read_account(members: Mapping[str, object]) -> str | None:
    account_id = members.get("account_id")
    return None if account_id is None else read_text("account_id", account_id)
