"""The jobs of an account that are polled, and the followers of each job."""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import attrs

from fireworks_batch.connection.credentials import own
from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.polling.approach import Print, print_of
from fireworks_batch.polling.machine import Failure, PollMachine
from fireworks_batch.polling.observation import Moment, Observation
from fireworks_batch.polling.schedule import is_sought_again, latest

__all__ = ["Follower", "Followers", "News", "PendingPoll", "Subject", "subjects_of"]


News: TypeAlias = Moment | Failure | FireworksBatchError
"""The result of a request for a job. A `Moment` stands for an answer, whose job the subject has. A
`Failure` is a failed poll. An error ends all polls."""


class Follower(Protocol):
    """A wait for a job, which learns of each poll, and decides whether to poll again."""

    @property
    def machine(self) -> PollMachine:
        """The machine, which knows when the next poll is due, and when the wait ends."""
        ...

    subject: "Subject | None"
    """The job as the poller knows it, kept here as long as there may be another poll."""

    def seen(self, observation: Observation) -> bool:
        """Take a successful poll; return whether to poll again."""
        ...

    def failed(self, failure: Failure) -> bool:
        """Take a failed poll; return whether to poll again."""
        ...


class Subject:
    """One job that is polled, and what is known about the job."""

    __slots__ = (
        "asked_at",
        "gets",
        "is_for_get",
        "job",
        "name",
        "page",
        "polls",
        "print",
        "problems",
        "ref",
        "task",
    )

    def __init__(self, ref: JobRef) -> None:
        """Make a subject for a job that was not seen yet."""
        self.ref: JobRef = ref
        self.name: str = str(ref)
        self.polls: list[PendingPoll] = []
        """The pending polls of the job."""
        self.job: BatchInferenceJob | None = None
        """The whole job, as it was last seen."""
        self.print: Print = ()
        """The members that the server changes, as they were last seen."""
        self.problems: tuple[str, ...] = ()
        """One text for each member of the job that could not be read."""
        self.page: float | None = None
        """The page that last showed the job; `schedule.pages_to_read` explains the values."""
        self.gets: int = 0
        """Number of GETs of the job since a page last showed it."""
        self.asked_at: float | None = None
        """When the GET that is under way was sent; None without a GET."""
        self.is_for_get: bool = False
        """Whether the job is in the queue for a GET."""
        self.task: asyncio.Task[None] | None = None
        """The task that makes the GET."""

    def take(self, job: BatchInferenceJob, problems: tuple[str, ...], print_: Print) -> None:
        """Remember the newest answer about the job."""
        self.job, self.problems, self.print = job, problems, print_

    def take_get(self, value: Any, observation: Observation) -> None:
        """Remember the answer to a GET. From time to time the job is searched on pages again."""
        self.take(observation.job, observation.problems, print_of(value))
        self.gets += 1
        if is_sought_again(self.gets):
            self.page = None

    def forget(self) -> None:
        """Forget all answers about the job, so that the whole job is requested again."""
        self.job, self.problems, self.print = None, (), ()

    def due_by(self, asked_at: float) -> list["PendingPoll"]:
        """Return the polls that are answered by a request of this moment."""
        return [poll for poll in self.polls if poll.due <= asked_at]


class PendingPoll:
    """A poll that a follower waits for."""

    __slots__ = ("deadline", "due", "follower", "future", "is_pending", "latest", "subject")

    def __init__(self, subject: Subject, follower: Follower, now: float) -> None:
        """Begin to wait.

        Args:
            subject: The job.
            follower: The follower.
            now: The moment.
        """
        self.subject: Subject = subject
        self.follower: Follower = follower
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the follower needs no other poll. Has an error if polling cannot go on."""
        self.is_pending: bool = True
        """Whether the follower still waits."""
        self.renew(now)

    def renew(self, now: float) -> None:
        """Read the times of the follower's next poll."""
        machine = self.follower.machine
        self.due: float = machine.due
        self.deadline: float = machine.deadline
        self.latest: float = latest(
            self.due,
            now=now,
            interval=machine.pause,
            deadline=self.deadline,
            is_brought_forward=machine.is_brought_forward,
        )

    def tell(self, news: Moment | Failure) -> bool:
        """Tell the follower of a poll; return whether to poll again."""
        job = self.subject.job
        if isinstance(news, Moment):
            return job is None or self.follower.seen(Observation(job, self.subject.problems, news))
        error = news.error and own(news.error)
        return self.follower.failed(attrs.evolve(news, error=error))


def subjects_of(polls: Iterable[PendingPoll]) -> list[Subject]:
    """Return the jobs of some polls, each job once, in the order of their first polls."""
    return list({poll.subject.name: poll.subject for poll in polls}.values())


class Followers:
    """All followers of one account's jobs."""

    def __init__(self, account_id: str) -> None:
        """Begin without followers.

        Args:
            account_id: The account of the jobs.
        """
        self.account_id = account_id
        self.subjects: dict[str, Subject] = {}
        """The jobs that are followed, by resource name."""

    def polls(self) -> list[PendingPoll]:
        """Return all pending polls, in any order."""
        return [poll for subject in self.subjects.values() for poll in subject.polls]

    def pause(self) -> float:
        """Return the seconds for which a 429 without a Retry-After closes the gate.

        This is the least value of all followers, so that a policy with one poll an hour does not
        stop the other followers.
        """
        return min((poll.follower.machine.pause for poll in self.polls()), default=0.0)

    def join(self, ref: JobRef, follower: Follower, now: float) -> PendingPoll:
        """Begin to poll a job for a follower, until `leave`."""
        subject = self.subjects.get(str(ref)) or follower.subject or Subject(ref)
        follower.subject = self.subjects[subject.name] = subject
        poll = PendingPoll(subject, follower, now)
        subject.polls.append(poll)
        return poll

    def leave(self, poll: PendingPoll) -> None:
        """Stop polling for a follower. The GET of a job without followers is cancelled."""
        if not poll.is_pending:
            return
        poll.is_pending = False
        subject = poll.subject
        subject.polls.remove(poll)
        if not subject.polls:
            del self.subjects[subject.name]
            subject.is_for_get = False
            if subject.task is not None:
                subject.task.cancel()

    def end(self, poll: PendingPoll, error: Exception | None = None) -> None:
        """End the polls of a follower, with an error if one is given."""
        self.leave(poll)
        if poll.future.done():
            return
        if error is None:
            poll.future.set_result(None)
        else:
            poll.future.set_exception(error)

    def end_all(self, error: Exception) -> None:
        """End the polls of all followers with an error, each with its own copy."""
        for poll in self.polls():
            self.end(poll, own(error))

    def tell(self, subjects: Iterable[Subject], news: News, *, asked_at: float, now: float) -> None:
        """Tell the followers whose polls a request answers.

        Args:
            subjects: The jobs that were requested.
            news: The result of the request.
            asked_at: When the request was sent. Polls that are due later need another request.
            now: The moment.
        """
        for subject in subjects:
            for poll in subject.due_by(asked_at):
                self.tell_one(poll, news, now)

    def tell_one(self, poll: PendingPoll, news: News, now: float) -> None:
        """Tell one follower, unless it has left after the news for another follower."""
        if not poll.is_pending:
            return
        if isinstance(news, FireworksBatchError):
            self.end(poll, own(news))
            return
        try:
            goes_on = poll.tell(news)
        except Exception as error:  # noqa: BLE001 - raised where the follower waits
            self.end(poll, error)
            return
        if goes_on:
            poll.renew(now)
        else:
            self.end(poll)
