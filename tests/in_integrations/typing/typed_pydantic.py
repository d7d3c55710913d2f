"""What type checkers see of typed outputs by pydantic. It is checked, not run."""

from typing import TypedDict, assert_type

from pydantic import BaseModel

from fireworks_batch import BatchClient, Submission
from fireworks_batch.integrations import pydantic
from fireworks_batch.integrations.pydantic import PydanticOutput
from fireworks_batch.typing import BatchResult


class Verdict(BaseModel):
    """A model."""

    label: str


class Place(TypedDict):
    """A TypedDict."""

    city: str


async def outputs(client: BatchClient, submission: Submission) -> None:
    """Rows have the type of the model."""
    verdict = pydantic.output(Verdict)
    assert_type(verdict, PydanticOutput[Verdict])
    assert_type(pydantic.output(Place), PydanticOutput[Place])
    result = await client.run("requests.jsonl", model="m", decode=verdict)
    assert_type(result, BatchResult[Verdict])
    async for row in result:
        assert_type(row.output, Verdict | None)
    collected = await client.collect(submission, decode=verdict)
    assert_type(collected, BatchResult[Verdict])
    async with client.results("job", decode=verdict) as rows:
        async for each in rows:
            assert_type(each.output, Verdict | None)
