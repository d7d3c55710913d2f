"""Describe the dataset's members, and the bodies of its calls; performs no I/O."""

from __future__ import annotations

from typing import Final

from .schema import Field, Message

FORMATS: Final = frozenset({"FORMAT_UNSPECIFIED", "CHAT", "COMPLETION", "RL"})
_STATUS: Final = Message(Field("code", kind="enum", zero="OK"), Field("message"))


def _source(name: str, *fields: Field) -> Field:
    return Field(name, "message", zero=None, message=Message(*fields), is_optional=True)


SOURCES: Final = (
    _source("userUploaded"),
    _source("evaluationResult", Field("evaluationJobId")),
    _source(
        "transformed",
        Field("sourceDatasetId"),
        Field("filter"),
        Field("originalFormat", kind="enum", zero="FORMAT_UNSPECIFIED", values=FORMATS),
    ),
    _source("splitted", Field("sourceDatasetId")),
    _source("evalProtocol"),
)
"""Of these one at most is set."""

DATASET: Final = Message(
    Field("name", is_output_only=True),
    Field("displayName"),
    Field("createTime", zero=None, is_output_only=True),
    Field("updateTime", zero=None, is_output_only=True),
    Field("createdBy", is_output_only=True),
    Field("state", kind="enum", zero="STATE_UNSPECIFIED", is_output_only=True),
    Field("status", "message", zero=None, message=_STATUS, is_output_only=True),
    Field("exampleCount", kind="int64", zero="0"),
    Field("estimatedTokenCount", kind="int64", zero="0", is_output_only=True),
    Field("averageTurnCount", kind="float", zero=0, is_output_only=True),
    Field("format", kind="enum", zero="FORMAT_UNSPECIFIED", values=FORMATS),
    Field("externalUrl"),
    Field("sourceJobName"),
    Field(
        "encryptionState",
        kind="enum",
        zero="ENCRYPTION_STATE_UNSPECIFIED",
        is_output_only=True,
    ),
    *SOURCES,
)

CREATE: Final = Message(
    Field("datasetId"),
    Field("dataset", "message", zero=None, message=DATASET),
    Field("sourceDatasetId"),
    Field("filter"),
)
GET_UPLOAD_ENDPOINT: Final = Message(Field("filenameToSize", kind="sizes"), Field("readMask"))
NOTHING: Final = Message()
SPLIT: Final = Message(Field("chunkSize", kind="int32", zero=0), Field("parent"))
