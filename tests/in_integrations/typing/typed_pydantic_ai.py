"""What type checkers see of the model for pydantic-ai. It is checked, not run."""

from typing import assert_type

from pydantic_ai import Agent
from pydantic_ai.capabilities import BatchModelRequests

from fireworks_batch import BatchClient
from fireworks_batch.integrations.pydantic_ai import FireworksBatchModel


async def runs(client: BatchClient) -> None:
    """An agent takes the model, and its outputs have their type."""
    model = FireworksBatchModel("m", client=client, name="n", settings={"temperature": 0.5})
    agent = Agent(model, output_type=list[int], capabilities=[BatchModelRequests()])
    assert_type((await agent.run("Count.")).output, list[int])
