"""Count a job's rows and tokens; performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .work import Counters

_INT32: Final = 2**31 - 1
_INPUT_TOKENS: Final = 42
_OUTPUT_TOKENS: Final = 17
_CACHED_TOKENS: Final = 20
"""Tokens of one row: of the size that tiny jobs showed."""


def count_progress(
    *, rows: int, failed_rows: int, share: float, is_total_known: bool
) -> dict[str, int]:
    """Give `jobProgress` when *share* of the rows is processed.

    Every counter grows with *share*, none ever falls.

    Args:
        rows: How many rows the input has.

        failed_rows: How many of them fail.

        share: In [0, 1].

        is_total_known: Whether the total is shown; seen live by one source, it is 0 early in
            RUNNING.
    """
    processed = min(rows, int(rows * share + 1e-6))
    failed = processed * failed_rows // rows if rows else 0
    succeeded = processed - failed
    total = rows if is_total_known else 0
    return {
        "percent": processed * 100 // total if total else 0,
        "epoch": 0,
        "totalInputRequests": total,
        "totalProcessedRequests": processed,
        "successfullyProcessedRequests": succeeded,
        "failedRequests": failed,
        "outputRows": succeeded,
        "inputTokens": min(_INT32, succeeded * _INPUT_TOKENS),
        "outputTokens": min(_INT32, succeeded * _OUTPUT_TOKENS),
        "cachedInputTokenCount": min(_INT32, succeeded * _CACHED_TOKENS),
    }


def count_work(counters: Counters, *, total: int) -> dict[str, int]:
    """Give `jobProgress` of rows that are really processed.

    Args:
        counters: What became of the rows so far.

        total: How many there are, as the job says; 0 while it does not show.
    """
    return {
        "percent": min(100, counters.processed * 100 // total) if total else 0,
        "epoch": 0,
        "totalInputRequests": total,
        "totalProcessedRequests": counters.processed,
        "successfullyProcessedRequests": counters.succeeded,
        "failedRequests": counters.failed,
        "outputRows": counters.succeeded,
        "inputTokens": min(_INT32, counters.input_tokens),
        "outputTokens": min(_INT32, counters.output_tokens),
        "cachedInputTokenCount": min(_INT32, counters.cached_tokens),
    }
