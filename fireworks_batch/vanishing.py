"""Waiting until a deleted job is gone."""

from typing import Final

from fireworks_batch import calls
from fireworks_batch.absence import if_there
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.reading import refuse_another
from fireworks_batch.settling import Settling, Sighting, looks
from fireworks_batch.states import JobState
from fireworks_batch.transport import Transport
from fireworks_batch.wait_defaults import WaitDefaults
from fireworks_batch.wire import Codec

__all__ = ["wait_until_gone"]

# Seconds; the vendor's own tool waits as long.
_TIMEOUT: Final = 1800.0


async def wait_until_gone(
    transport: Transport, codec: Codec, waits: WaitDefaults, ref: JobRef
) -> None:
    """Return when the job is not found any more, or stays visible as DELETED.

    Raises:
        WaitTimeoutError: It was not gone within half an hour.
        PollFailureError: Looks at it failed for longer than the policy's ``failure_budget``.
        FireworksBatchError: The server refuses for good.
    """
    # Asked for whole: nobody knows that masks are obeyed.
    request = calls.get_job(ref.account_id, ref.job_id)

    async def ask(pause: float) -> Sighting[None]:
        answer = await if_there(transport.send_once(request, pause=pause))
        if answer is None:
            return Sighting(None, "gone", is_settled=True)
        job = codec.decode(answer.body, BatchInferenceJob, required=("name",))
        refuse_another(job, ref.job_id)
        return Sighting(None, str(job.state), is_settled=job.state == JobState.DELETED)

    await Settling(
        subject=f"job {ref.job_id!r} to be gone",
        look=looks(transport, ask),
        policy=waits.poll,
        timeout=_TIMEOUT * waits.time_scale,
        clock=transport.now,
        draw=waits.draw,
    ).run()
