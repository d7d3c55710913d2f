"""Who is told of a look, and what: everybody whose look it answers, each of an error of its own."""

import copy
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import attrs

from fireworks_batch.effects import Failure, Moment
from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.subjects import Interest, Subject

__all__ = ["News", "Teller"]

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
