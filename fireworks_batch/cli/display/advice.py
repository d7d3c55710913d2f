"""Errors in words of the command line, and what to do about each. Performs no I/O."""

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from fireworks_batch.cli.durations import brief
from fireworks_batch.models import errors
from fireworks_batch.models.texts import fit, visible

__all__ = ["Advice", "advise", "come_back"]

_PROGRAM: Final = "fireworks-batch"
# Bad rows that are named with an error.
_MOST_NAMED: Final = 10
_CHECK_NETWORK: Final = "check the network, HTTPS_PROXY and --base-url"
_CHECK_API: Final = "check --base-url: it may be no Fireworks API"
_REQUEST: Final = re.compile(r"^[A-Z]+ /\S*: ")
_LISTING: Final = re.compile(r"^GET /\S*/(batchInferenceJobs|datasets): ")


@attrs.frozen
class Advice:
    """What is printed about one error."""

    problem: str
    """What went wrong, in one line."""

    hints: tuple[str, ...] = ()
    """What to check, or which command to run; may be empty."""


def come_back(job_ids: Sequence[str], connection: Sequence[str] = ()) -> tuple[str, str]:
    """Return the two commands for jobs that run on: to wait for them again, and to stop them.

    Args:
        job_ids: The jobs; a command names all of them, so that it can be pasted.
        connection: The options by which they are reached.
    """
    words = [*job_ids, *connection]
    return shlex.join([_PROGRAM, "wait", *words]), shlex.join([_PROGRAM, "delete", *words])


def advise(
    error: BaseException, connection: Sequence[str] = (), *, job_id: str | None = None
) -> Advice:
    """Return what to print about an error; about an unexpected one, how to report it.

    Args:
        error: The error.
        connection: The options by which jobs are reached, for commands that can be pasted.
        job_id: The job that the error is about, if the error itself need not name it.
    """
    advice = _said_of(error, connection, job_id)
    return attrs.evolve(advice, problem=fit(advice.problem))


def _said_of(error: BaseException, connection: Sequence[str], job_id: str | None) -> Advice:
    if isinstance(error, errors.WaitError):
        name = error.ref.job_id if error.ref else job_id
        # Without a job it is a dataset that was waited for.
        return _wait(error, name, connection) if name else _plain(error)
    if isinstance(error, errors.JobNotFinishedError):
        return _not_finished(error, connection)
    for kind, say in _RULES:
        if isinstance(error, kind):
            return say(error)
    problem = f"internal error: {type(error).__name__}: {error}"
    return Advice(problem, ("run the command again with --debug, and report what it writes",))


# --- One rule for each class, subclasses first ----------------------------------------------------


def _wait(error: errors.WaitError, name: str, connection: Sequence[str]) -> Advice:
    again, stop = come_back([name], connection)
    last = error.last_snapshot
    if last is None:
        return _never_seen(error, name, again)
    seen = f"it was last seen {last.job.state}"
    failure = f"; {_last_poll(error.last_error)}" if error.last_error else ""
    hints: tuple[str, ...] = (f"the job runs on; to come back: {again}", f"to stop it: {stop}")
    match error:
        case errors.WaitTimeoutError():
            return Advice(f"gave up waiting for {name}: the time is up, {seen}{failure}", hints)
        case errors.JobStalledError():
            since = brief(last.unchanged_for)
            if last.job.state == "PENDING":
                hints = (
                    "check that the model or router can serve batch jobs: others stay PENDING",
                    *hints,
                )
            return Advice(f"gave up waiting for {name}: {seen}, unchanged for {since}", hints)
        case errors.PollFailureError():
            hints = (_CHECK_NETWORK, *hints)
            return Advice(f"gave up waiting for {name}: polls keep failing, {seen}{failure}", hints)
        case errors.JobGoneError():
            return Advice(
                f"{name} does not exist any more: it was deleted, {seen}",
                (f"its output may still exist: {_PROGRAM} datasets list",),
            )
        case _:
            return Advice(f"gave up waiting for {name}: {seen}{failure}", hints)


def _never_seen(error: errors.WaitError, name: str, again: str) -> Advice:
    """Say why no poll succeeded; whether the job runs is not known then."""
    hints: tuple[str, ...] = (f"to try again: {again}",)
    last = error.last_error
    if isinstance(last, errors.TransportError):
        reason = _REQUEST.sub("", str(last))
        if "reached" not in reason:
            where = f" at {error.ref.base_url}" if error.ref else ""
            reason = f"nothing was reached{where}: {reason}"
        problem = f"gave up waiting for {name}: {reason}"
        return Advice(problem, (_CHECK_NETWORK, *hints))
    why = _last_poll(last) if last else "there was no time for a poll"
    if isinstance(last, errors.ResponseDecodeError) or (
        isinstance(last, errors.NotFoundError) and not last.from_api
    ):
        hints = (_CHECK_API, *hints)
    return Advice(f"gave up waiting for {name}: the job was never seen; {why}", hints)


def _last_poll(error: errors.FireworksBatchError) -> str:
    return f"the last poll failed: {_said_of(error, (), None).problem}"


def _authentication(error: errors.AuthenticationError) -> Advice:
    code = f" {error.code}" if error.code else ""
    return Advice(
        f"the key is refused: {error.message} ({error.status}{code})",
        ("check the key: --api-key-file, FIREWORKS_API_KEY or ~/.fireworks/auth.ini",),
    )


def _permission(error: errors.PermissionDeniedError) -> Advice:
    return Advice(
        str(error),
        (
            "check --account-id, and what the key may do",
            "an account with a zero-data-retention policy cannot run batch jobs",
        ),
    )


def _suspended(error: errors.AccountSuspendedError) -> Advice:
    return Advice(str(error), ("check the account's payment method, credits and spend limit",))


def _not_found(error: errors.NotFoundError) -> Advice:
    text = str(error)
    if not error.from_api:
        return Advice(text, (_CHECK_API,))
    text = text.partition(" (404 ")[0]
    account = "to use another account: --account-id"
    for kind, listing in (("job", "list"), ("dataset", "datasets list")):
        if text.startswith(f"there is no {kind} "):
            return Advice(text, (f"to see what there is: {_PROGRAM} {listing}", account))
    return Advice(text, ("check --base-url, which is without /v1", account))


def _bad_request(error: errors.BadRequestError) -> Advice:
    text = str(error)
    if error.status != 400 or not _LISTING.match(text):
        return Advice(text)
    problem = f"the server refuses the listing: {_REQUEST.sub('', text)}"
    return Advice(problem, ("check --filter, and --order-by if it is given",))


def _rate_limit(error: errors.RateLimitError) -> Advice:
    soon = f"in {brief(error.retry_after)}" if error.retry_after else "in a minute"
    return Advice(
        str(error),
        (f"try again {soon}", "an account without a payment method has 10 requests a minute"),
    )


def _conflict(error: BaseException) -> Advice:
    return Advice(str(error), ("choose another name or id",))


def _dataset_conflict(error: errors.DatasetConflictError) -> Advice:
    # The rest of the message names arguments of the library.
    problem, _, ways_out = str(error).partition(". Pass reuse=True")
    if not ways_out:
        return _conflict(error)
    return Advice(
        problem,
        (
            "to use it in place of the file, whatever it holds: --reuse",
            "or choose another --dataset-id; without one, the id derives from the content",
        ),
    )


def _server(error: BaseException) -> Advice:
    return Advice(str(error), ("try again in a minute; jobs run on meanwhile",))


def _transport(error: BaseException) -> Advice:
    return Advice(str(error), (_CHECK_NETWORK,))


def _undecodable(error: errors.ResponseDecodeError) -> Advice:
    return Advice(str(error), (_CHECK_API,))


def _configuration(error: errors.ConfigurationError) -> Advice:
    text = str(error)
    if text.startswith("no API key"):
        return Advice(
            "no API key",
            (
                "set FIREWORKS_API_KEY, or give --api-key-file",
                "or store one as 'api_key = ...' in ~/.fireworks/auth.ini",
            ),
        )
    hint = ("to choose one of them: --account-id",) if "account_id=" in text else ()
    if "stored submission" in text or text.startswith("a submission of version"):
        hint = (f"'{_PROGRAM} submit --json' writes what 'collect' reads",)
    # What can only be said to the library.
    for words in (
        ": pass account_id=",
        ", or pass allow_insecure_http=",
        "; call `submit` again",
        " (a value that is newer than this release",
    ):
        text = text.partition(words)[0]
    return Advice(text, hint)


def _not_finished(error: errors.JobNotFinishedError, connection: Sequence[str]) -> Advice:
    again, _ = come_back([error.job.id], connection)
    problem = f"job {error.job.id} has not ended: it is {error.job.state}"
    return Advice(problem, (f"to wait for its end: {again}",))


def _input_rows(error: errors.InputRowsError) -> Advice:
    problem = str(error).partition("\n")[0]
    hints = [visible(str(row)) for row in error.problems[:_MOST_NAMED]]
    more = error.count - len(hints)
    if more:
        hints += [
            f"and {more:,} more",
            f"to see more of them: {_PROGRAM} check, with the same requests",
        ]
    if error.count:  # else the error is about the file, which has no rows, or too many
        hints.append("to leave them out: --on-bad-row skip")
    return Advice(problem, tuple(hints))


def _file(error: OSError) -> Advice:
    where = f"{error.filename}: " if error.filename is not None else ""
    return Advice(f"{where}{error.strerror or error}")


def _plain(error: BaseException) -> Advice:
    return Advice(str(error))


_Rule = tuple[type[BaseException], Callable[..., Advice]]
_RULES: Final[tuple[_Rule, ...]] = (
    (errors.AuthenticationError, _authentication),
    (errors.PermissionDeniedError, _permission),
    (errors.AccountSuspendedError, _suspended),
    (errors.NotFoundError, _not_found),
    (errors.BadRequestError, _bad_request),
    (errors.RateLimitError, _rate_limit),
    (errors.ConflictError, _conflict),
    (errors.ServerError, _server),
    (errors.TransportError, _transport),
    (errors.ResponseDecodeError, _undecodable),
    (errors.ConfigurationError, _configuration),
    (errors.JobConflictError, _conflict),
    (errors.DatasetConflictError, _dataset_conflict),
    (errors.InputRowsError, _input_rows),
    (errors.FireworksBatchError, _plain),
    (OSError, _file),
)
