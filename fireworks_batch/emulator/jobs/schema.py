"""The members of a batch inference job. Performs no I/O."""

from typing import Final

from fireworks_batch.emulator.http.messages import Field, Message

PRECISIONS: Final = frozenset(
    {
        "PRECISION_UNSPECIFIED",
        "FP16",
        "FP8",
        "FP8_MM",
        "FP8_AR",
        "FP8_MM_KV_ATTN",
        "FP8_KV",
        "FP8_MM_V2",
        "FP8_V2",
        "FP8_MM_KV_ATTN_V2",
        "NF4",
        "FP4",
        "BF16",
        "FP4_BLOCKSCALED_MM",
        "FP4_MX_MOE",
    }
)

_COUNTERS: Final = (
    "percent",
    "epoch",
    "totalInputRequests",
    "totalProcessedRequests",
    "successfullyProcessedRequests",
    "failedRequests",
    "outputRows",
    "inputTokens",
    "outputTokens",
    "cachedInputTokenCount",
)

_STATUS: Final = Message(
    Field("code", kind="enum", zero="OK"),
    Field("message"),
)

_INFERENCE_PARAMETERS: Final = Message(
    Field("maxTokens", kind="int32", zero=0, is_optional=True),
    Field("temperature", kind="float", zero=0, is_optional=True),
    Field("topP", kind="float", zero=0, is_optional=True),
    Field("n", kind="int32", zero=0, is_optional=True),
    Field("topK", kind="int32", zero=0, is_optional=True),
    Field("extraBody"),
)

_LIFECYCLE: Final = Message(
    Field("validatedTime", zero=None),
    Field("runStartTime", zero=None),
    Field("endTime", zero=None),
)

_PLACEMENT: Final = Message(
    Field(
        "multiRegion",
        kind="enum",
        zero="MULTI_REGION_UNSPECIFIED",
        values=frozenset({"MULTI_REGION_UNSPECIFIED", "GLOBAL", "US", "EUROPE", "APAC"}),
    ),
    Field("region", kind="enum", zero="REGION_UNSPECIFIED"),
    Field("regions", kind="strings", zero=[]),
)


def _message(name: str, message: Message, *, is_output_only: bool = False) -> Field:
    return Field(name, "message", zero=None, message=message, is_output_only=is_output_only)


JOB: Final = Message(
    Field("name", is_output_only=True),
    Field("displayName"),
    Field("createTime", zero=None, is_output_only=True),
    Field("updateTime", zero=None, is_output_only=True),
    Field("expireTime", zero=None, is_output_only=True),
    Field("createdBy", is_output_only=True),
    Field("state", kind="enum", zero="JOB_STATE_UNSPECIFIED", is_output_only=True),
    _message("status", _STATUS, is_output_only=True),
    Field("model"),
    Field("inputDatasetId"),
    Field("outputDatasetId"),
    _message("inferenceParameters", _INFERENCE_PARAMETERS),
    Field("precision", kind="enum", zero="PRECISION_UNSPECIFIED", values=PRECISIONS),
    _message(
        "jobProgress",
        Message(*(Field(name, kind="int32", zero=0) for name in _COUNTERS)),
        is_output_only=True,
    ),
    _message("lifecycle", _LIFECYCLE, is_output_only=True),
    _message("placement", _PLACEMENT),
    Field("maxJobDuration", kind="duration", zero=None),
    Field("continuedFromJobName"),
    Field("systemPrompt"),
    Field("waitingOnCapacity", kind="bool", zero=False, is_output_only=True),
)
"""The twenty members of the newest published API document, in the order that was seen live."""
