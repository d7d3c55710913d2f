"""What type checkers see of prices. It is checked, not run."""

from collections.abc import Callable
from decimal import Decimal
from typing import assert_type

from fireworks_batch import BatchClient, CheckReport
from fireworks_batch.integrations import cost
from fireworks_batch.integrations.cost import Cost, Estimate, Price


async def prices(client: BatchClient) -> None:
    """Amounts are decimals, or None where they are unknown."""
    assert_type(cost.cap(5), Callable[[CheckReport], None])
    cost.cap(Decimal("2.5"), allow_unknown=True)
    found = cost.estimate(await client.check("requests.jsonl", model="m"))
    assert_type(found, Estimate)
    assert_type(found.high_usd, Decimal | None)
    assert_type(cost.price_of("m"), Price | None)
    result = await client.run("requests.jsonl", model="m", before_submit=cost.cap("0.99"))
    assert_type(cost.cost_of(result.report), Cost)
    assert_type(cost.cost_of(await client.jobs.get("job")).usd, Decimal | None)
