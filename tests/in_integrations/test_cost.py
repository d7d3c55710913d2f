"""What a batch costs, by the table of genai-prices, with tokens that the emulator counts."""

import json
import pickle
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import attrs
import pytest
from clients import client_of
from genai_prices import Usage, calc_price

from fireworks_batch import (
    AdoptedJob,
    BatchInferenceJob,
    CheckReport,
    ConfigurationError,
    FireworksBatchError,
    JobProgress,
    JobReport,
    JobState,
    Limits,
    RowContents,
    RunReport,
)
from fireworks_batch.cli.app import app
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.integrations.cost import CostCapError, cap, cost_of, estimate, price_of

MODEL = "accounts/fireworks/models/gpt-oss-20b"
UNKNOWN = "accounts/acme/models/my-tuned-8b"
UNPRICED = [UNKNOWN, "accounts/fireworks/models/demo-8b", "accounts/fireworks/routers/kimi-k3-fast"]
PRICED = [
    MODEL,
    "accounts/fireworks/models/gpt-oss-120b",
    "accounts/fireworks/models/deepseek-v3p2",
    "accounts/fireworks/models/llama-v3p1-8b-instruct",
]
MILLION = 1_000_000
CAPTURED = {"capture_output": True, "text": True}
NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)


def listed(model=MODEL, at=None, **tokens):
    """What tokens cost on serverless, as the library itself computes it."""
    found = calc_price(Usage(**tokens), model, provider_id="fireworks", genai_request_timestamp=at)
    return found.total_price


def by_hand(usages, model=MODEL):
    """What rows cost in a batch, from the usage of each."""
    total = Decimal(0)
    for usage in usages:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        half = {
            "input_tokens": usage["prompt_tokens"] - cached,
            "output_tokens": usage["completion_tokens"],
        }
        total += listed(model, **half) / 2
        total += listed(model, input_tokens=cached, cache_read_tokens=cached)
    return total


@asynccontextmanager
async def served(**options):
    """Give a client of an emulator of its own."""
    async with (
        Emulator(speed=60_000, account_id="acme", **options) as emulator,
        client_of(emulator) as client,
    ):
        yield client


def requests(count, text="hi", **body):
    """Rows that say the same."""
    messages = [{"role": "user", "content": text}]
    return [
        {"custom_id": f"r{number}", "body": {"messages": messages, **body}}
        for number in range(count)
    ]


class Counting:
    """A responder that keeps the usage of each row that it answers."""

    def __init__(self, *, fails=()):
        self.usages = []
        self._fails = list(fails)

    def __call__(self, custom_id, _):
        if custom_id in self._fails:
            self._fails.remove(custom_id)
            raise RowFailureError("busy", 503)
        number = len(self.usages) + 1
        usage = {
            "prompt_tokens": 1000 * number,
            "completion_tokens": 10 * number,
            "total_tokens": 1010 * number,
            "prompt_tokens_details": {"cached_tokens": 300 * number},
        }
        self.usages.append(usage)
        content = "no JSON" if number == 1 else "{}"
        choices = [{"index": 0, "message": {"role": "assistant", "content": content}}]
        return {"id": custom_id, "choices": choices, "usage": usage}


# --- Prices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", PRICED)
def test_a_batch_costs_half_of_the_serverless_price(model):
    """Of input and of output, by the table of the library."""
    price = price_of(model)
    assert price.input == listed(model, input_tokens=MILLION) / 2
    assert price.output == listed(model, output_tokens=MILLION) / 2
    assert price.of(input_tokens=3, output_tokens=5) == (
        listed(model, input_tokens=3, output_tokens=5) / 2
    )


def test_cached_input_has_the_price_of_its_own():
    """As it stands in the table."""
    own = listed(input_tokens=MILLION, cache_read_tokens=MILLION)
    assert price_of(MODEL).cached_input == own
    assert price_of(MODEL).of(input_tokens=9, cached_tokens=4, output_tokens=0) == (
        listed(input_tokens=5) / 2 + own * 4 / MILLION
    )


def test_cached_input_without_a_price_costs_as_other_input():
    """So the cost is never too small."""
    price = price_of("accounts/fireworks/models/llama-v3p1-8b-instruct")
    assert price.serverless_cached_input is None
    assert price.cached_input == price.input
    assert "cached input as other input" in str(price)


@pytest.mark.parametrize(
    "at", [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)]
)
def test_a_price_is_that_of_the_moment(at):
    """The table has several prices of this model, each from a day on."""
    model = "accounts/fireworks/models/gpt-oss-120b"
    own = listed(model, at, input_tokens=MILLION, cache_read_tokens=MILLION)
    assert price_of(model, at=at).cached_input == own


@pytest.mark.parametrize("model", UNPRICED)
def test_a_model_that_is_not_in_the_table_has_no_price(model):
    """Nor has a router or a model of an account."""
    assert price_of(model) is None


@pytest.mark.parametrize("model", ["gpt-oss-20b", "", None, 5])
def test_a_price_needs_a_resource_name(model):
    """The error shows what was given, and how a name looks."""
    with pytest.raises(ConfigurationError, match="accounts/fireworks/models/gpt-oss-20b"):
        price_of(model)


def test_a_price_shows_its_basis():
    """The model in the table, the factor, the prices, the version and the day of the table."""
    price = price_of(MODEL)
    text = str(price)
    assert text.startswith(f"gpt-oss-20b: half of ${price.serverless_input} input and ")
    assert f"${price.serverless_output} output" in text
    assert f"cached input ${price.serverless_cached_input}" in text
    assert price.source in text
    assert f"as of {price.dated} or later" in text
    assert text in repr(price)
    assert text in repr(estimate(CheckReport(model=MODEL, rows=1, bytes=1, jobs=())))


def test_nothing_is_fetched():
    """No address is looked up, and no connection is made."""
    program = (
        "import sys\n"
        "def watch(event, _):\n"
        "    if event in {'socket.connect', 'socket.getaddrinfo'}: sys.exit(f'{event}!')\n"
        "sys.addaudithook(watch)\n"
        "from fireworks_batch.integrations.cost import price_of\n"
        f"print(price_of({MODEL!r}).matched)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, **CAPTURED)
    assert (done.stdout, done.stderr) == ("gpt-oss-20b\n", "")


# --- Before ---------------------------------------------------------------------------------------


async def test_an_estimate_has_two_ends(client):
    """From few cached tokens without an answer to many tokens with the longest answers."""
    model = "accounts/fireworks/models/gpt-oss-120b"  # its cached input is cheaper than half
    report = await client.check(requests(4, "x" * 600, max_tokens=50), model=model)
    found = estimate(report)
    price = price_of(model)
    assert found.input_tokens == (400, 2400 + 4 * 20)
    assert found.output_tokens == (0, 200)
    assert found.low_usd == price.of(input_tokens=400, cached_tokens=400, output_tokens=0)
    assert found.high_usd == price.of(input_tokens=2480, output_tokens=200)
    assert str(found).endswith(str(price))
    assert "2,400 characters" in found.reasons[0]
    assert found.reasons[1] == "output: 0 to 200 tokens, by max_tokens"


def test_token_ids_are_exact_and_pictures_are_not():
    """And both are in the reasons."""
    content = RowContents(token_ids=7, images=2, messages=3, max_tokens=1)
    found = estimate(CheckReport(model=MODEL, rows=3, bytes=1, jobs=(), content=content))
    assert found.input_tokens == (7 + 2 * 100, 7 + 2 * 10_000 + 3 * 20)
    assert "token ids: 7, which are exact" in found.reasons
    assert any(reason.startswith("parts that are not text: 2,") for reason in found.reasons)


async def test_without_max_tokens_the_high_end_is_unknown(client):
    """Never zero, and the text says so."""
    mixed = [*requests(1, max_tokens=50), *requests(3)[1:]]
    found = estimate(await client.check(mixed, model=MODEL))
    assert found.high_usd is None
    assert found.output_tokens == (0, None)
    assert found.low_usd > 0 or found.input_tokens[0] == 0
    assert "and the most is unknown" in str(found)
    assert "rows without max_tokens: 2 of 3" in found.reasons[-1]


@pytest.mark.parametrize("model", UNPRICED)
async def test_without_a_price_both_ends_are_unknown(client, model):
    """Never zero, and the text names the model."""
    found = estimate(await client.check(requests(2, max_tokens=50), model=model))
    assert (found.low_usd, found.high_usd, found.price) == (None, None, None)
    assert str(found).startswith("unknown: genai-prices ")
    assert f"no price for {model!r}" in str(found)


async def test_another_model_can_be_asked_for(client):
    """To compare models, without another check."""
    report = await client.check(requests(2, max_tokens=50), model=UNKNOWN)
    assert estimate(report, model=MODEL).price == price_of(MODEL)


async def test_an_estimate_needs_a_model(client):
    """The error says where to give one."""
    report = await client.check(requests(2))
    with pytest.raises(ConfigurationError, match=r"model= to client\.check"):
        estimate(report)


async def test_a_run_costs_what_was_estimated(client):
    """The cost lies between the two ends, with the max_tokens of the job."""
    seen = []
    async with await client.run(
        requests(3, "What is two and two?"),
        model=MODEL,
        inference_parameters={"max_tokens": 20},
        before_submit=seen.append,
    ) as result:
        found, cost = estimate(seen[0]), cost_of(result.report)
    assert found.output_tokens == (0, 60)
    assert found.low_usd < cost.usd < found.high_usd


# --- The cap --------------------------------------------------------------------------------------


async def test_a_cap_refuses_before_anything_is_sent(emulator, client):
    """The error has the estimate, the cap and the way out."""
    with pytest.raises(CostCapError) as caught:
        await client.run(requests(3, max_tokens=100_000), model=MODEL, before_submit=cap("0.01"))
    error = caught.value
    assert emulator.requests() == []
    assert error.cap == Decimal("0.01")
    assert error.estimate.high_usd > error.cap
    text = str(error)
    assert "the cap is $0.0100: nothing was sent" in text
    assert str(error.estimate) in text
    assert "fewer rows" in text
    assert isinstance(error, FireworksBatchError)
    assert pickle.loads(pickle.dumps(error)).estimate == error.estimate  # noqa: S301 - our own


async def test_a_cap_that_is_kept_lets_the_rows_pass(client):
    """To the last cent: the high end may be as much as the cap."""
    rows = requests(3, max_tokens=100)
    most = estimate(await client.check(rows, model=MODEL)).high_usd
    with pytest.raises(CostCapError):
        await client.submit(rows, model=MODEL, before_submit=cap(most - Decimal("1e-12")))
    async with await client.run(rows, model=MODEL, before_submit=cap(most)) as result:
        assert result.report.is_complete


async def test_a_cap_refuses_what_is_unknown(emulator, client):
    """A model without a price, and rows without max_tokens; the error says what would help."""
    with pytest.raises(CostCapError, match="use a model with a price; or allow it"):
        await client.run(requests(1, max_tokens=5), model=UNKNOWN, before_submit=cap(5))
    with pytest.raises(CostCapError, match="give each row max_tokens; or allow it"):
        await client.run(requests(1), model=MODEL, before_submit=cap(5))
    assert emulator.requests() == []


async def test_a_cap_lets_the_unknown_pass_if_asked(client):
    """But not if the low end, which is known, is above the cap."""
    allowed = cap("0.000001", allow_unknown=True)
    async with await client.run(
        requests(1, max_tokens=5), model=UNKNOWN, before_submit=allowed
    ) as result:
        assert result.report.is_complete
    async with await client.run(requests(1), model=MODEL, before_submit=allowed) as result:
        assert result.report.is_complete
    with pytest.raises(CostCapError, match=r"the cap is \$0\.0000010: nothing"):
        await client.run(requests(1, "x" * 1000), model=MODEL, before_submit=allowed)


@pytest.mark.parametrize("usd", [0, -1, "five", float("nan"), float("inf"), True, None, "1,000"])
def test_a_cap_is_an_amount_above_zero(usd):
    """The error shows what was given."""
    with pytest.raises(ConfigurationError) as caught:
        cap(usd)
    assert repr(usd) in str(caught.value)


# --- Afterwards -----------------------------------------------------------------------------------


async def test_the_cost_of_a_run_is_the_sum_of_its_rows():
    """In several jobs, with cached input, to the last digit; and no row is counted twice."""
    respond = Counting()
    async with served(responder=respond) as client:
        limits = Limits(max_rows=4)
        async with await client.run(requests(10), model=MODEL, limits=limits) as result:
            report = result.report
            rows = [row.response["usage"] async for row in result]
    assert len(report.jobs) == 3
    cost = cost_of(report)
    assert cost.usd == cost.counted_usd == by_hand(respond.usages) == by_hand(rows)
    assert (cost.input_tokens, cost.cached_tokens, cost.output_tokens) == (55_000, 16_500, 550)
    assert (report.input_tokens, report.cached_tokens, report.output_tokens) == (
        55_000,
        16_500,
        550,
    )
    assert cost.earlier_usd == 0
    assert "55,000 tokens in (16,500 of them cached), 550 out" in str(cost)
    assert str(cost).endswith(str(price_of(MODEL)))


async def test_rows_that_ran_twice_are_paid_twice():
    """An output that decode= refuses was generated all the same."""
    respond = Counting(fails=["r2"])
    decode = SimpleNamespace(response_format=None, read=json.loads)
    async with (
        served(responder=respond) as client,
        await client.run(requests(3), model=MODEL, decode=decode, retry_rows=1) as result,
    ):
        cost, report = cost_of(result.report), result.report
    assert (report.retried, len(report.jobs)) == (2, 2)
    assert len(respond.usages) == 4
    assert cost.usd == by_hand(respond.usages)


async def test_jobs_that_had_ended_before_were_paid_before(client):
    """They are in the cost, and in the part for earlier jobs."""
    async with await client.run(requests(3), model=MODEL) as first:
        cost = cost_of(first.report)
    async with await client.run(requests(3), model=MODEL) as second:
        again = cost_of(second.report)
    assert cost.usd == again.usd == again.earlier_usd > 0
    assert cost.earlier_usd == 0
    assert "of it for jobs that had ended before" in str(again)


async def test_a_job_has_a_cost_of_its_own(client):
    """By its own counters, and the prices of the day on which it was created."""
    async with await client.run(requests(3), model=MODEL) as result:
        (done,) = result.report.jobs
    job = await client.jobs.get(done.job_id)
    cost = cost_of(job)
    assert cost.usd == price_of(MODEL, at=job.create_time).of(
        input_tokens=job.job_progress.input_tokens,
        cached_tokens=job.job_progress.cached_input_token_count,
        output_tokens=job.job_progress.output_tokens,
    )
    assert (cost.input_tokens, cost.output_tokens) == (done.input_tokens, done.output_tokens)


@pytest.mark.parametrize("model", UNPRICED)
async def test_a_model_without_a_price_has_no_cost(client, model):
    """It is unknown, and the tokens are there."""
    async with await client.run(requests(3), model=model) as result:
        cost = cost_of(result.report)
    assert (cost.usd, cost.counted_usd, cost.earlier_usd) == (None, None, None)
    assert cost.input_tokens > 0
    assert str(cost).startswith("unknown: ")
    assert f"no price for {model!r}; {cost.input_tokens} tokens in" in str(cost)


@pytest.mark.parametrize("counters", ["null", "zero"])
async def test_tokens_that_the_server_did_not_tell_are_unknown(counters):
    """The cost is not zero, also if the counters are zeros although rows have an answer."""
    assume = {"ended_counters": counters}
    async with served(assume=assume) as client:
        async with await client.run(requests(3), model=MODEL) as result:
            report = result.report
        job = await client.jobs.get(report.jobs[0].job_id)
    assert report.is_complete
    assert (report.input_tokens, report.output_tokens, report.cached_tokens) == (None, None, None)
    for cost in (cost_of(report), cost_of(job)):
        assert cost.usd is None
        assert cost.uncounted_jobs == (job.id,)
        assert cost.counted_usd is None
        assert cost.earlier_usd is None
        assert str(cost).startswith("unknown: the server has told the tokens of no job; ")


def a_job(state, **counters):
    """A job that was created at noon."""
    return BatchInferenceJob(
        name="accounts/acme/batchInferenceJobs/j",
        state=JobState(state),
        model=MODEL,
        create_time=NOON,
        job_progress=JobProgress(**counters),
    )


def test_a_job_that_failed_at_once_costs_nothing():
    """Its counters say so: no row ran."""
    assert cost_of(a_job("FAILED")).usd == 0


def test_a_job_is_priced_as_of_its_creation():
    """The table has several prices of cached input of this model, each from a day on."""
    model = "accounts/fireworks/models/gpt-oss-120b"
    counters = {"input_tokens": MILLION, "cached_input_token_count": MILLION}
    job = attrs.evolve(a_job("COMPLETED", **counters), model=model)
    assert cost_of(job).usd == listed(model, NOON, input_tokens=MILLION, cache_read_tokens=MILLION)


def test_a_job_that_runs_has_cost_something_so_far():
    """The cost is not final."""
    cost = cost_of(a_job("RUNNING", input_tokens=MILLION))
    assert cost.usd is None
    assert cost.counted_usd == listed(at=NOON, input_tokens=MILLION) / 2
    assert cost.uncounted_jobs == ("j",)
    assert str(cost).startswith("at least $")


def a_report(*jobs, **members):
    """A report of jobs."""
    numbers = {"rows": 2, "succeeded": 2, "failed": 0, "missing": 0}
    return RunReport(**numbers, model=MODEL, jobs=jobs, **members)


def a_job_report(job_id, state="COMPLETED", tokens=MILLION):
    """The outcome of one job, with as many tokens of each kind."""
    counts = dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), tokens)
    return JobReport(job_id=job_id, state=JobState(state), rows=1, **counts)


@pytest.mark.parametrize(
    "other", [a_job_report("b", tokens=None), a_job_report("b", "DELETED", tokens=0)]
)
def test_a_job_without_a_count_makes_the_sum_unknown(other):
    """What is counted is a lower bound."""
    alone, cost = cost_of(a_report(a_job_report("a"))), cost_of(a_report(a_job_report("a"), other))
    assert alone.usd == alone.counted_usd == cost.counted_usd > 0
    assert cost.usd is None
    assert cost.uncounted_jobs == ("b",)
    assert str(cost).startswith("at least $")
    assert "jobs whose tokens are not all counted: 1" in str(cost)


def test_a_part_was_paid_before():
    """Only the jobs that had ended before the call."""
    adopted = AdoptedJob(job_id="a", state=JobState.COMPLETED, age=5.0)
    cost = cost_of(a_report(a_job_report("a"), a_job_report("b"), adopted=(adopted,)))
    assert cost.usd == 2 * cost.earlier_usd > 0


def test_values_can_be_copied():
    """They survive pickle, and are equal."""
    cost = cost_of(a_report(a_job_report("a")))
    assert pickle.loads(pickle.dumps(cost)) == cost  # noqa: S301 - our own
    assert str(cost) in repr(cost)


async def test_what_has_no_tokens_has_no_cost(client):
    """The report of the rows of one job: the error says what to give instead."""
    async with await client.run(requests(1), model=MODEL) as result:
        job_id = result.report.jobs[0].job_id
    async with client.results(job_id) as rows:
        async for _ in rows:
            pass
    with pytest.raises(ConfigurationError, match=r"not ResultsReport: .* rows\.job"):
        cost_of(rows.report)


# --- The command line -----------------------------------------------------------------------------


@pytest.fixture
def check(capsys, tmp_path):
    """Call ``fireworks-batch check`` in this process; return its code, stdout and stderr."""

    def call(rows, *arguments):
        path = tmp_path / "requests.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        with pytest.raises(SystemExit) as caught:
            app(args=["check", str(path), *arguments], prog_name="fireworks-batch")
        return (caught.value.code or 0, *capsys.readouterr())

    return call


def test_check_price_prints_the_estimate(check):
    """With the basis and the date on stdout; without --price there is nothing."""
    code, out, err = check(requests(3, max_tokens=100), "--model", MODEL, "--price")
    first, *reasons = out.splitlines()
    assert code == 0
    assert first.startswith("price: $0.00000")
    assert first.endswith(str(price_of(MODEL)))
    assert reasons[-1] == "  output: 0 to 300 tokens, by max_tokens"
    assert err.endswith("3 good rows, 294 B, 1 job\n")
    assert check(requests(3), "--model", MODEL)[1] == ""


def test_check_price_gives_json(check):
    """The amounts are numbers, and null where they are unknown."""
    out = check(requests(3, max_tokens=100), "--model", MODEL, "--price", "--json")[1]
    found = json.loads(out)["price"]
    assert found["model"] == MODEL
    assert 0 < found["low_usd"] < found["high_usd"]
    assert found["output_tokens"] == [0, 300]
    assert found["basis"] == str(price_of(MODEL))
    assert found["reasons"]
    out = check(requests(3, max_tokens=100), "--model", UNKNOWN, "--price", "--json")[1]
    found = json.loads(out)["price"]
    assert (found["low_usd"], found["high_usd"], found["basis"]) == (None, None, None)
    assert "price" not in json.loads(check(requests(3), "--json")[1])


def test_check_price_says_unknown(check):
    """For a model without a price; the rows are good all the same."""
    code, out, _ = check(requests(3, max_tokens=100), "--model", UNKNOWN, "--price")
    assert code == 0
    assert out.startswith("price: unknown: ")


def test_check_price_needs_a_model(check):
    """It is bad usage, and nothing is read."""
    code, out, err = check(requests(3), "--price")
    assert (code, out) == (2, "")
    assert "--price needs --model" in err


def test_check_price_needs_the_extra(tmp_path):
    """It is bad usage: the error names the extra and the command that installs it."""
    program = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from fireworks_batch.cli.app import app\n"
        f"app(args=['check', {str(tmp_path / 'none')!r}, '--model', {MODEL!r}, '--price'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, **CAPTURED)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'fireworks-batch[cost]'" in done.stderr
