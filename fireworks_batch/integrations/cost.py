"""What a batch costs: before it is sent as an estimate, afterwards from the counted tokens.

The serverless prices come from the table in the package ``genai-prices``. Nothing is fetched. A
batch costs half of the serverless price of input and output. Cached input has the model's own
cached price. If the table has none, cached input costs as much as other input. A model that is not
in the table has no price here: fine-tuned models, models of an account, and routers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from typing import Final

import attrs

from fireworks_batch import (
    BatchInferenceJob,
    CheckReport,
    ConfigurationError,
    FireworksBatchError,
    JobReport,
    JobState,
    RunReport,
)
from fireworks_batch.integrations import needs

with needs("cost"):
    from genai_prices import Usage, calc_price
    from genai_prices.types import PriceCalculation, StartDateConstraint

__all__ = ["Cost", "CostCapError", "Estimate", "Price", "cap", "cost_of", "estimate", "price_of"]

_FACTOR: Final = Decimal("0.5")  # what a batch costs, of the serverless price of input and output

_MODELS: Final = "accounts/fireworks/models/"  # the vendor's own, which alone have a price

_MILLION: Final = 1_000_000

_SOURCE: Final = f"genai-prices {version('genai-prices')}"

# Long English words have some 6 characters to a token. A token is one byte at least, whatever the
# script. The template of a model adds to each message.
_CHARACTERS: Final = 6
_TEMPLATE: Final = 20
_PICTURE: Final = (100, 10_000)


# --- Prices ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Price:
    """What a million tokens of a model cost, in USD, and where the figures come from."""

    model: str
    """The resource name of the model."""

    matched: str
    """The model in the table, by the table's own name."""

    serverless_input: Decimal
    """The serverless price of a million input tokens."""

    serverless_cached_input: Decimal | None
    """The serverless price of a million input tokens from the prompt cache.

    None if the table has none.
    """

    serverless_output: Decimal
    """The serverless price of a million output tokens."""

    source: str
    """The package of the table, with its version."""

    dated: date | None
    """The day on which the application last updated the table, if it did.

    Otherwise the day of the newest Fireworks price that the table gives a day for: the table is not
    older than that. None if it gives no day.
    """

    @property
    def input(self) -> Decimal:
        """The price of a million input tokens in a batch."""
        return _FACTOR * self.serverless_input

    @property
    def cached_input(self) -> Decimal:
        """The price of a million input tokens from the prompt cache in a batch."""
        cached = self.serverless_cached_input
        return self.input if cached is None else cached

    @property
    def output(self) -> Decimal:
        """The price of a million output tokens in a batch."""
        return _FACTOR * self.serverless_output

    def of(self, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Decimal:
        """Return what tokens cost in a batch, in USD, not rounded.

        Args:
            input_tokens: Tokens read, 0 or more, the cached ones included.
            output_tokens: Tokens generated, 0 or more.
            cached_tokens: How many of the input tokens came from the prompt cache.
        """
        others = max(0, input_tokens - cached_tokens)
        read = self.input * others + self.cached_input * cached_tokens
        return (read + self.output * output_tokens) / _MILLION

    def __str__(self) -> str:
        cached = self.serverless_cached_input
        own = "as other input" if cached is None else f"${cached}"
        dated = f", as of {self.dated} or later" if self.dated else ""
        return (
            f"{self.matched}: half of ${self.serverless_input} input and "
            f"${self.serverless_output} output, cached input {own}, for a million tokens "
            f"({self.source}{dated})"
        )

    def __repr__(self) -> str:
        return f"<Price of {self}>"


def price_of(model: str, *, at: datetime | None = None) -> Price | None:
    """Return the price of a model.

    Args:
        model: The resource name of the model, as in ``"accounts/fireworks/models/gpt-oss-20b"``.

        at: The moment for which the price is asked; aware, or in UTC. None means now.

    Returns:
        The price; None if the table has no single price for the model, or the model is not one of
        the vendor's.

    Raises:
        ConfigurationError: The text is not a resource name.
    """
    if not str(model).startswith("accounts/"):
        raise ConfigurationError(
            f"model must be a resource name, as in '{_MODELS}gpt-oss-20b', not {model!r}"
        )
    return _find(model, at)


def _find(model: str, at: datetime | None = None) -> Price | None:
    if not model.startswith(_MODELS):
        return None
    now = datetime.fromtimestamp(time.time(), UTC)
    try:
        found = calc_price(
            Usage(), model, provider_id="fireworks", genai_request_timestamp=at or now
        )
    except LookupError:
        return None
    listed = found.model_price
    read, cached, written = listed.input_mtok, listed.cache_read_mtok, listed.output_mtok
    # A price that depends on the length of each prompt cannot be told from sums.
    if (
        not isinstance(read, Decimal)
        or not isinstance(written, Decimal)
        or not (cached is None or isinstance(cached, Decimal))
    ):
        return None
    return Price(
        model=model,
        matched=found.model.id,
        serverless_input=read,
        serverless_cached_input=cached,
        serverless_output=written,
        source=_SOURCE,
        dated=_date_of_table(found, now),
    )


def _date_of_table(found: PriceCalculation, now: datetime) -> date | None:
    if found.auto_update_timestamp is not None:
        return found.auto_update_timestamp.date()
    constraints = (
        each.constraint
        for model in found.provider.models
        if isinstance(model.prices, list)
        for each in model.prices
    )
    days = (
        each.start_date
        for each in constraints
        if isinstance(each, StartDateConstraint) and each.active(now)
    )
    return max(days, default=None)


# --- Before ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Estimate:
    """What requests may cost, from the cheapest to the dearest end."""

    model: str
    """The resource name of the model."""

    rows: int
    """The number of good rows."""

    low_usd: Decimal | None
    """The least that the rows can be expected to cost, in USD. None if the model has no price."""

    high_usd: Decimal | None
    """The most that the rows can be expected to cost, in USD.

    None if the model has no price, or if there are rows without ``max_tokens``.
    """

    input_tokens: tuple[int, int]
    """The least and the most tokens that the model may read."""

    output_tokens: tuple[int, int | None]
    """The least and the most tokens that the model may generate.

    The most is None if there are rows without ``max_tokens``.
    """

    price: Price | None
    """The price of the model. None if it is unknown."""

    reasons: tuple[str, ...] = ()
    """Sentences: what the figures are made of, and why they are not exact."""

    def __str__(self) -> str:
        if self.price is None or self.low_usd is None:
            return f"unknown: {_no_price(self.model)}"
        if self.high_usd is None:
            return f"at least {_shown(self.low_usd)}, and the most is unknown; {self.price}"
        return f"{_shown(self.low_usd)} to {_shown(self.high_usd)}; {self.price}"

    def __repr__(self) -> str:
        return f"<Estimate {self}>"


def estimate(report: CheckReport, *, model: str | None = None) -> Estimate:
    """Estimate what requests cost, from their counted characters.

    No tokenizer is used, so the figures are two ends of a wide range. The low end has few tokens,
    all of them from the prompt cache, and no output. The high end has many tokens, none of them
    from the cache, and ``max_tokens`` of output for each row. ``reasons`` of the estimate has the
    numbers. Each row counts once: rows that `BatchClient.run` sends again (``retry_rows``) cost
    again. Jobs that exist already and are adopted are not taken off.

    Args:
        report: What `BatchClient.check` returns, or ``before_submit=`` is given.

        model: The resource name of the model. None means the model of the report.

    Returns:
        The estimate. A model without a price makes both ends None. Rows without ``max_tokens`` make
        the high end None.

    Raises:
        ConfigurationError: Neither the report nor the argument names a model, or the argument is
            not a resource name.
    """
    model = model if model is not None else report.model
    if model is None:
        raise ConfigurationError(
            "an estimate needs a model: give model= to client.check() or to estimate()"
        )
    price = price_of(model)
    content = report.content
    fixed = content.token_ids
    small, large = _PICTURE
    low = content.characters // _CHARACTERS + fixed + content.images * small
    high = content.bytes + fixed + content.images * large + content.messages * _TEMPLATE
    written = None if content.unlimited_rows else content.max_tokens
    return Estimate(
        model=model,
        rows=report.rows,
        low_usd=(
            None
            if price is None
            else price.of(input_tokens=low, cached_tokens=low, output_tokens=0)
        ),
        high_usd=(
            None
            if price is None or written is None
            else price.of(input_tokens=high, output_tokens=written)
        ),
        input_tokens=(low, high),
        output_tokens=(0, written),
        price=price,
        reasons=tuple(_reasons(report, low, high)),
    )


def _reasons(report: CheckReport, low: int, high: int) -> Iterator[str]:
    content = report.content
    yield (
        f"input: {low:,} to {high:,} tokens, all or none of them from the prompt cache; "
        f"{content.characters:,} characters count {_CHARACTERS} to a token, or a token for each of "
        f"their {content.bytes:,} bytes, and a message up to {_TEMPLATE} tokens for the template"
    )
    if content.token_ids:
        yield f"token ids: {content.token_ids:,}, which are exact"
    if content.images:
        small, large = _PICTURE
        yield (
            f"parts that are not text: {content.images:,}, each {small:,} to {large:,} tokens, "
            "since their sizes are not known"
        )
    if content.unlimited_rows:
        yield (
            f"output: any number of tokens; rows without max_tokens: {content.unlimited_rows:,} "
            f"of {report.rows:,}"
        )
    else:
        yield f"output: 0 to {content.max_tokens:,} tokens, by max_tokens"


class CostCapError(FireworksBatchError):
    """Raised by `cap`: the requests may cost more than the cap, or an unknown amount."""

    def __init__(self, message: str, *lines: str, cap: Decimal, estimate: Estimate) -> None:
        super().__init__(message, *lines)
        self.cap: Decimal = cap
        """The cap, in USD."""
        self.estimate: Estimate = estimate
        """What the requests may cost."""


def cap(
    usd: Decimal | float | str, *, allow_unknown: bool = False
) -> Callable[[CheckReport], None]:
    """Return a function for ``before_submit=`` that refuses requests that may cost too much.

    The **high** end of `estimate` counts: the requests are sent only if it is not above the cap. It
    is no guarantee: emoji and rare scripts can have more tokens than characters, and rows that
    ``retry_rows`` sends again cost again. The function is called also if all jobs exist already and
    nothing new is to be paid. To go on with such jobs above the cap, leave ``before_submit=`` out.

    Args:
        usd: The most that the requests may cost, in USD; above 0.

        allow_unknown: Whether requests are sent if their high end is unknown. It is unknown for a
            model without a price, and for rows without ``max_tokens``. If the low end is known, it
            must not be above the cap.

    Returns:
        A function that takes the `CheckReport`. It raises `CostCapError` before anything is sent.

    Raises:
        ConfigurationError: The amount is not a number above 0.
    """
    most = _amount(usd)

    def check(report: CheckReport) -> None:
        found = estimate(report)
        counted = found.high_usd
        if counted is None and allow_unknown:
            counted = found.low_usd or Decimal(0)
        if counted is None:
            raise CostCapError(
                f"the most that the batch may cost is unknown, and the cap is {_shown(most)}: "
                "nothing was sent",
                f"  estimate: {found}",
                f"  to know it: {_way_to_know(found)}; or allow it: cap(..., allow_unknown=True)",
                cap=most,
                estimate=found,
            )
        if counted > most:
            raise CostCapError(
                f"the batch may cost {_shown(counted)}, and the cap is {_shown(most)}: "
                "nothing was sent",
                f"  estimate: {found}",
                "  send fewer rows, give a smaller max_tokens, or raise the cap",
                cap=most,
                estimate=found,
            )

    return check


def _amount(usd: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal("NaN") if isinstance(usd, bool) else Decimal(str(usd))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"usd must be a number above 0, as in 5 or '2.50', not {usd!r}")
    return amount


def _way_to_know(found: Estimate) -> str:
    return "use a model with a price" if found.price is None else "give each row max_tokens"


# --- Afterwards -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Cost:
    """What jobs cost, from the tokens that the server has counted."""

    model: str
    """The resource name of the model; empty if it is not known."""

    input_tokens: int
    """The number of tokens read, the cached ones included, as far as the server has told."""

    cached_tokens: int
    """How many of the input tokens came from the prompt cache."""

    output_tokens: int
    """The number of tokens generated, as far as the server has told."""

    counted_usd: Decimal | None
    """What these tokens cost, in USD, not rounded.

    None if the model has no price, or if the server has told the tokens of no job.
    """

    earlier_usd: Decimal | None
    """The part of ``counted_usd`` for jobs that had ended before the call that adopted them.

    An earlier call has paid for these jobs. None if ``counted_usd`` is None.
    """

    uncounted_jobs: tuple[str, ...] = ()
    """The ids of the jobs whose tokens are not all counted.

    The server has not told their tokens, or they have not ended, or they were deleted.
    """

    price: Price | None
    """The price of the model. None if it is unknown."""

    @property
    def usd(self) -> Decimal | None:
        """What the jobs cost, in USD, not rounded. None if that is not known.

        It is not known for a model without a price, and if there are ``uncounted_jobs``. Then
        ``counted_usd`` may have a part of it.
        """
        return None if self.uncounted_jobs else self.counted_usd

    def __str__(self) -> str:
        cached = f" ({self.cached_tokens:,} of them cached)" if self.cached_tokens else ""
        tokens = f"{self.input_tokens:,} tokens in{cached}, {self.output_tokens:,} out"
        if self.price is None:
            return f"unknown: {_no_price(self.model)}; {tokens}"
        if self.counted_usd is None:
            return f"unknown: the server has told the tokens of no job; {self.price}"
        count = len(self.uncounted_jobs)
        least = "at least " if count else ""
        missing = f"; jobs whose tokens are not all counted: {count:,}" if count else ""
        earlier = (
            f", {_shown(self.earlier_usd)} of it for jobs that had ended before"
            if self.earlier_usd
            else ""
        )
        return f"{least}{_shown(self.counted_usd)}{earlier}; {tokens}{missing}; {self.price}"

    def __repr__(self) -> str:
        return f"<Cost {self}>"


def cost_of(spent: RunReport | BatchInferenceJob) -> Cost:
    """Return what a run or a job has cost, from the tokens that the server has counted.

    All jobs of the report count, so a row that ran twice counts twice. Jobs that had ended before
    the call count too: ``earlier_usd`` has their part. Jobs that were deleted before the call are
    not in the report.

    Args:
        spent: The report of a run (``result.report``), priced as of now; or a job, in any state,
            priced as of its creation.

    Returns:
        The cost. It is unknown, and never 0, for a model without a price, and for jobs of which the
        server has told no tokens.

    Raises:
        ConfigurationError: The argument is neither a report of a run nor a job.
    """
    if isinstance(spent, BatchInferenceJob):
        price = _find(spent.model, spent.create_time)
        return _cost(spent.model, price, [_report_of(spent)], frozenset())
    if isinstance(spent, RunReport):
        adopted = frozenset(each.job_id for each in spent.adopted)
        return _cost(spent.model, _find(spent.model), spent.jobs, adopted)
    raise ConfigurationError(
        f"cost_of takes the report of a run or a job, not {type(spent).__name__}: the report of "
        "client.results() belongs to rows.job"
    )


def _report_of(job: BatchInferenceJob) -> JobReport:
    report = JobReport(job_id=job.id, state=job.state, rows=0)
    counted = job.job_progress
    if counted is None or not job.has_token_counts:
        return report
    return attrs.evolve(
        report,
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cached_tokens=counted.cached_input_token_count,
    )


def _cost(
    model: str, price: Price | None, jobs: Sequence[JobReport], adopted: frozenset[str]
) -> Cost:
    tokens = _tokens(jobs)
    earlier = _tokens([job for job in jobs if job.job_id in adopted])
    is_counted = any(job.input_tokens is not None for job in jobs)
    known = price if is_counted else None
    return Cost(
        model=model,
        **tokens,
        counted_usd=None if known is None else known.of(**tokens),
        earlier_usd=None if known is None else known.of(**earlier),
        uncounted_jobs=tuple(job.job_id for job in jobs if not _is_final(job)),
        price=price,
    )


def _tokens(jobs: Sequence[JobReport]) -> dict[str, int]:
    return {
        name: sum(getattr(job, name) or 0 for job in jobs)
        for name in ("input_tokens", "output_tokens", "cached_tokens")
    }


def _is_final(job: JobReport) -> bool:
    """Whether all tokens are counted. The counters of a deleted job are as old as the last poll."""
    ended = job.state.is_terminal and job.state != JobState.DELETED
    return ended and job.input_tokens is not None


# --- Words ----------------------------------------------------------------------------------------


def _shown(usd: Decimal) -> str:
    """Return an amount as people write it: a small one with two digits that count."""
    if usd >= 1 or not usd:
        return f"${usd:,.2f}"
    return f"${usd:.{max(4, 1 - usd.adjusted())}f}"


def _no_price(model: str) -> str:
    return f"{_SOURCE} has no price for {model!r}" if model else "no model is named"


# The table is loaded when the first price is asked for, which takes some time. The event loop must
# not wait for that when `cap` is called.
price_of(f"{_MODELS}any")
