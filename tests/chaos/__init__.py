"""Chaos: random harm to everything around the client, and what must be true whatever happens.

Every case is one number, its seed: `python tests/chaos proxy --seed 123` plays one case again and
tells its story. `make chaos SECONDS=600` plays all kinds for so long, prints a table, and writes it
as JSON. The tests play a few cases of each kind, always the same.

A kind is a module of this package, named in `KINDS`. It has:

- a docstring, which says what the kind does;
- `CASES`, how many cases the tests play, from seed 0 on: about ten seconds of one processor;
- `play(seed)`, which draws a case from the seed alone, plays it to its end in this process, and
  returns it: a `chaos.invariants.Case` with its story, its violations, and how many faults and
  bytes it met. A kind that lasts as long as it is told, named in `LASTING`, takes the seconds too.

What must be true stands in `chaos.invariants`, once for all kinds. The usual `play`::

    case = Case("proxy", seed)
    run(case, lambda: _scenario(case))
    return case

`run` gives the scenario a loop and a directory of its own, and finds what the scenario leaves
behind. A call of the client is made through `case.ends`, which holds it against its deadline and
the types of its errors. `case.random` is the only source of chance.
"""

KINDS = (
    "proxy",
    "hostile",
    "mutated",
    "clocks",
    "process",
    "soak",
)
"""The modules of this package that are kinds."""

LASTING = ("soak",)
"""The kinds whose `play(seed, seconds)` lasts as long as it is told: their share of the time."""
