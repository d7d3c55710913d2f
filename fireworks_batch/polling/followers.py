"""The jobs that a poller looks at, and those who want to know."""

import asyncio
import copy
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import attrs

from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.polling.approach import Print
from fireworks_batch.polling.observation import Failure, Follower, Moment, Observation
from fireworks_batch.polling.schedule import PATIENCE, latest, looks_again

__all__ = ["Interest", "News", "Subject", "Teller", "subjects_of"]


class Subject:
    """One job that somebody looks at, and what is known of it.

    Whoever may look at it again keeps it between two looks, so that nothing is forgotten.
    """

    __slots__ = (
        "asked_at",
        "gets",
        "interests",
        "is_for_get",
        "job",
        "name",
        "page",
        "print",
        "problems",
        "ref",
        "task",
        "text",
    )

    def __init__(self, ref: JobRef) -> None:
        """Begin to look at a job."""
        self.ref = ref
        self.name = str(ref)
        self.interests: list[Interest] = []
        """Whose looks are pending."""
        self.job: BatchInferenceJob | None = None
        """The whole job, as it was last seen."""
        self.print: Print = ()
        """What the server changes, as it was last seen."""
        self.text = b""
        """The text of a page that it was read from."""
        self.problems: tuple[str, ...] = ()
        """What could not be read of it."""
        self.page: float | None = None
        """On which page it was last seen: see `rounds.pages_to_read`."""
        self.gets = 0
        """How often it was asked for by GET since a page showed it changed."""
        self.asked_at: float | None = None
        """Since when a GET of it is under way."""
        self.is_for_get = False
        """Whether a listing has left it to a GET."""
        self.task: asyncio.Task[None] | None = None
        """Who makes the GET."""

    def take(
        self,
        job: BatchInferenceJob,
        problems: tuple[str, ...],
        print_: Print,
        text: bytes = b"",
    ) -> None:
        """Remember what was seen, and in which text."""
        self.job, self.problems, self.print, self.text = job, problems, print_, text

    def forget(self) -> None:
        """Forget what was seen: it has to be seen whole again."""
        self.job, self.problems, self.print, self.text = None, (), (), b""

    def fetched(self) -> None:
        """Count a GET: now and then it is looked for in the listing again."""
        self.gets += 1
        if looks_again(self.gets):
            self.page = None

    def keep(self, text: bytes, print_: Print) -> None:
        """Remember by which text the job is recognised, or by which print if there is none."""
        self.text, self.print = text, () if text else print_

    def waiting(self, asked_at: float) -> list["Interest"]:
        """Return whose looks an observation made at a moment answers."""
        return [interest for interest in self.interests if interest.due <= asked_at]


class Interest:
    """Somebody who looks at a job, as long as they do."""

    __slots__ = ("deadline", "due", "follower", "future", "is_attached", "latest", "subject")

    def __init__(
        self, subject: Subject, follower: Follower, future: asyncio.Future[None], now: float
    ) -> None:
        """Begin to look.

        Args:
            subject: The job.
            follower: Who wants to know.
            future: Done when they have enough.
            now: The moment.
        """
        self.subject = subject
        self.follower = follower
        self.future = future
        self.is_attached = True
        """Whether it still has a look pending."""
        self.renew(now)

    def renew(self, now: float) -> None:
        """Note when the follower's next look is due."""
        follower = self.follower
        self.due = follower.due
        self.deadline = follower.deadline
        self.latest = latest(
            follower.due, now=now, interval=follower.pause, deadline=follower.deadline
        )

    def put_off(self) -> None:
        """Note when the follower's next look is due, which is not yet: `renew` in short."""
        follower = self.follower
        self.due = due = follower.due
        self.deadline = deadline = follower.deadline
        patience = PATIENCE * follower.pause
        left = (deadline - due) / 2
        self.latest = due + (patience if patience < left else left)

    def tell(self, news: Moment | Failure) -> bool:
        """Tell the follower of a look at the subject; return whether to look again."""
        follower, subject = self.follower, self.subject
        if isinstance(news, Failure):
            return follower.lost(news)
        job = subject.job
        if job is None:
            return True
        if follower.job is job:
            return follower.same(news)
        seen: Observation = news.observation(job, subject.problems)
        return follower.seen(seen)


def subjects_of(looks: Iterable[Interest]) -> list[Subject]:
    """Return the jobs that some look at, each once, in the order of the first who does."""
    return list({look.subject.name: look.subject for look in looks}.values())


News: TypeAlias = Moment | Failure | FireworksBatchError
"""What a look brought: a good answer, a failure, or what ends all looks."""


class End(Protocol):
    """Ends what somebody looks at a job for."""

    def __call__(self, interest: Interest, error: BaseException | None = None) -> None:
        """End it, with an error if there is one."""
        ...


class Teller:
    """Tells those who look at jobs, and ends the looks of whoever has enough."""

    def __init__(self, end: End, now: Callable[[], float]) -> None:
        """Take what it needs.

        Args:
            end: Ends looks.
            now: Returns the moment.
        """
        self._end = end
        self._now = now

    def tell_all(self, subjects: Iterable[Subject], news: News, asked_at: float) -> None:
        """Tell those who wait for any of some jobs."""
        for subject in subjects:
            self.tell_waiting(subject, news, asked_at)

    def tell_waiting(self, subject: Subject, news: News, asked_at: float) -> None:
        """Tell all those whose looks an answer is for.

        Args:
            subject: The job.
            news: What was seen of it; if that is good, the job knows what.
            asked_at: When the request was sent: looks that were due later need another one.
        """
        now = self._now()
        for interest in subject.waiting(asked_at):
            self.tell(interest, news, now)

    def tell_same(self, subjects: list[Subject], moment: Moment, asked_at: float) -> None:
        """Tell those who wait that jobs are as before: `tell_waiting` in short, for most looks."""
        for subject in subjects:
            job, interests = subject.job, subject.interests
            for interest in interests if len(interests) == 1 else tuple(interests):
                if interest.due > asked_at or not interest.is_attached:
                    continue
                follower = interest.follower
                if follower.job is not job:
                    self.tell(interest, moment, moment.now)
                    continue
                try:
                    goes_on = follower.same(moment)
                except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
                    self._end(interest, error)
                    continue
                if goes_on:
                    interest.put_off()
                else:
                    self._end(interest)

    def tell(self, interest: Interest, news: News, now: float) -> None:
        """Tell one of them.

        Args:
            interest: Who.
            news: What was seen.
            now: The moment.
        """
        if not interest.is_attached:
            return  # what another one was told has made it leave
        if isinstance(news, FireworksBatchError):
            self._end(interest, copy.copy(news))
            return
        if isinstance(news, Failure) and news.error is not None:
            news = attrs.evolve(news, error=copy.copy(news.error))
        try:
            goes_on = interest.tell(news)
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
            self._end(interest, error)
            return
        if goes_on:
            interest.renew(now)
        else:
            self._end(interest)
