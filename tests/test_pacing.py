"""The gate that all of a client's requests pass, without a loop or a clock."""

from fireworks_batch.pacing import Gate


def test_an_open_gate_lets_all_pass_at_once():
    """Without a rate any number of requests passes in one moment."""
    gate = Gate()
    assert [True, True, True] == [gate.let_pass(5.0) for _ in range(3)]
    assert gate.hold(5.0) == 0


def test_a_closed_gate_lets_none_pass_before_its_time():
    """At the very moment it opens, one passes."""
    gate = Gate()
    gate.close(10.0)
    assert not gate.let_pass(9.9)
    assert gate.hold(7.5) == 2.5
    assert gate.let_pass(10.0)


def test_what_the_server_asked_for_is_never_shortened():
    """A shorter wish that comes later changes nothing."""
    gate = Gate()
    gate.close(10.0)
    gate.close(3.0)
    assert gate.opens_at == 10.0
    gate.close(11.0)
    assert gate.passes_at == 11.0


def test_a_rate_spaces_those_who_pass():
    """Who does not pass takes no place; the next place counts from who passed last."""
    gate = Gate(spacing=6.0)
    assert gate.let_pass(0.0)
    assert not gate.let_pass(5.9)
    assert not gate.let_pass(5.9)
    assert gate.passes_at == 6.0
    assert gate.let_pass(7.0)
    assert gate.passes_at == 13.0


def test_a_gate_that_opens_is_spaced_too():
    """After a 429 the rate holds as before it."""
    gate = Gate(spacing=6.0)
    gate.close(100.0)
    assert gate.let_pass(100.0)
    assert not gate.let_pass(100.0)
