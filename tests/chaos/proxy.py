"""A kind to come."""

from chaos.invariants import Case, run

CASES = 1


def play(seed: int) -> Case:
    """Play the case of a seed."""
    case = Case("proxy", seed)
    run(case, lambda: _scenario(case))
    return case


async def _scenario(case: Case) -> None:
    case.say("nothing")
