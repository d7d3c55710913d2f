"""The settings of waiting and of repeating."""

import copy
import math
import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models import policies
from fireworks_batch.models.errors import ConfigurationError, shown
from fireworks_batch.models.policies import JOB_TIME_LIMIT, PollPolicy, RetryPolicy, scaled

# Each setting's rule: the words of its message, and values on both sides of its bounds.
ABOVE_0 = ("a number above 0", [1e-9, 1, 0.5, 1e300], [0, 0.0, -1, -0.5])
FROM_0 = ("a number at least 0", [0, 0.0, 1, 1e300], [-1e-9, -1])
SHARE = ("a number at least 0 and at most 0.9", [0, 0.5, 0.9], [-0.1, 0.91, 1])
FACTOR = ("a number at least 1 and at most 100", [1, 1.5, 100], [0.99, 0, 101, -1])
SWITCH = ("True or False", [True, False], [0, 1, "yes"])
WHOLE = ("a whole number of at least 1", [1, 2, 10**6], [0, -1, 1.0, 1.5])
RULES = {
    (PollPolicy, "initial_interval"): ABOVE_0,
    (PollPolicy, "min_interval"): FROM_0,
    (PollPolicy, "max_interval"): ABOVE_0,
    (PollPolicy, "growth"): FACTOR,
    (PollPolicy, "jitter"): SHARE,
    (PollPolicy, "failure_budget"): FROM_0,
    (PollPolicy, "not_found_grace"): FROM_0,
    (PollPolicy, "unknown_state_budget"): ABOVE_0,
    (PollPolicy, "stall_after"): ABOVE_0,
    (PollPolicy, "adaptive"): SWITCH,
    (RetryPolicy, "max_attempts"): WHOLE,
    (RetryPolicy, "initial_delay"): FROM_0,
    (RetryPolicy, "max_delay"): FROM_0,
    (RetryPolicy, "jitter"): SHARE,
    (RetryPolicy, "rate_limit_budget"): FROM_0,
}
GOOD = [(*key, value) for key, (_, good, _) in RULES.items() for value in good]
OUT_OF_RANGE = [(*key, value) for key, (_, _, bad) in RULES.items() for value in bad]
NO_NUMBERS = [math.nan, math.inf, -math.inf, True, False, "15", b"15", [15], 1j, -(10**400)]
NUMBERS = [key for key, rule in RULES.items() if rule is not SWITCH]
UNLIMITED = {"unknown_state_budget", "stall_after"}


def test_defaults_are_those_promised():
    """The defaults are part of the public promise."""
    assert attrs.asdict(PollPolicy()) == {
        "initial_interval": 15.0,
        "min_interval": 1.0,
        "max_interval": 60.0,
        "growth": 1.5,
        "jitter": 0.1,
        "failure_budget": 3600.0,
        "not_found_grace": 30.0,
        "unknown_state_budget": None,
        "stall_after": None,
        "adaptive": True,
    }
    assert attrs.asdict(RetryPolicy()) == {
        "max_attempts": 4,
        "initial_delay": 0.5,
        "max_delay": 8.0,
        "jitter": 0.25,
        "rate_limit_budget": 120.0,
    }


def test_every_setting_has_a_rule_here():
    """No setting escapes these tests."""
    settings = {(cls, f.name) for cls in (PollPolicy, RetryPolicy) for f in attrs.fields(cls)}

    assert {*RULES} == settings


@pytest.mark.parametrize(("cls", "name", "value"), GOOD)
def test_value_in_range_is_kept(cls, name, value):
    """A number within its bounds, the bounds included, is taken as it is."""
    assert value == getattr(cls(**{name: value}), name)


@pytest.mark.parametrize(("cls", "name", "value"), OUT_OF_RANGE)
def test_value_out_of_range_is_refused_by_name(cls, name, value):
    """The error names the policy, the setting, what is wanted and what was given."""
    with pytest.raises(ConfigurationError) as caught:
        cls(**{name: value})

    wanted = RULES[cls, name][0]
    assert f"{cls.__name__}.{name} must be {wanted}, not {value!r}" == str(caught.value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_what_is_no_finite_number_is_refused(cls, name, value):
    """Infinities, nan, booleans, texts and numbers no float can hold are refused at birth."""
    with pytest.raises(ConfigurationError) as caught:
        cls(**{name: value})

    assert f"{cls.__name__}.{name} must be " in str(caught.value)
    assert str(caught.value).endswith(f", not {shown(value)}")


def test_number_that_no_float_can_hold_is_refused():
    """A whole number beyond the floats is refused at birth, not when a poll is planned."""
    with pytest.raises(ConfigurationError, match=r"PollPolicy\.initial_interval must be a number"):
        PollPolicy(initial_interval=10**400)


def test_a_number_that_python_does_not_print_is_refused_by_our_error():
    """Not by Python's own, about the conversion of numbers to strings."""
    with pytest.raises(ConfigurationError, match=r"jitter must be a number .*, not .* digits"):
        PollPolicy(jitter=10**5000)
    with pytest.raises(ConfigurationError, match=r"max_attempts must be .*, not .* digits"):
        RetryPolicy(max_attempts=-(10**5000))


@pytest.mark.parametrize(("cls", "name"), RULES)
def test_none_means_no_limit_where_there_may_be_none(cls, name):
    """None is accepted by the two settings that can be switched off, and by no other."""
    if name in UNLIMITED:
        assert getattr(cls(**{name: None}), name) is None
    else:
        with pytest.raises(ConfigurationError, match=r"not None$"):
            cls(**{name: None})


def test_policies_are_frozen_and_take_keywords():
    """A policy cannot be changed, only derived."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PollPolicy().growth = 2.0
    with pytest.raises(TypeError):
        PollPolicy(15.0)
    with pytest.raises(TypeError):
        RetryPolicy(4)


def test_fixed_policy_has_one_interval():
    """It neither grows, nor is it drawn or adapted; whatever else a policy says is the default."""
    assert PollPolicy.fixed(5) == PollPolicy(
        initial_interval=5, min_interval=0, max_interval=5, growth=1, jitter=0, adaptive=False
    )
    with pytest.raises(ConfigurationError, match=r"^PollPolicy\.initial_interval must be a number"):
        PollPolicy.fixed(0)


def test_derived_policy_is_validated():
    """`attrs.evolve` changes what it is told to, and checks it."""
    assert attrs.evolve(PollPolicy(), growth=2.0) == PollPolicy(growth=2.0)
    with pytest.raises(ConfigurationError, match=r"PollPolicy\.growth"):
        attrs.evolve(PollPolicy(), growth=0.5)


def test_order_of_values_is_no_mistake():
    """Values are clamped to each other when used, so a policy keeps what it was given."""
    policy = PollPolicy(initial_interval=100, min_interval=200, max_interval=0.001)

    assert (policy.initial_interval, policy.min_interval, policy.max_interval) == (100, 200, 0.001)


def test_scaled_policy_multiplies_every_duration_and_nothing_else():
    """A time scale changes seconds, and neither factors, shares nor counts."""
    assert scaled(PollPolicy(unknown_state_budget=100, stall_after=200), 0.01) == PollPolicy(
        initial_interval=15.0 * 0.01,
        min_interval=0.01,
        max_interval=60.0 * 0.01,
        failure_budget=3600.0 * 0.01,
        not_found_grace=30.0 * 0.01,
        unknown_state_budget=1.0,
        stall_after=2.0,
        growth=1.5,
        jitter=0.1,
    )
    assert scaled(RetryPolicy(), 2) == RetryPolicy(
        max_attempts=4, initial_delay=1.0, max_delay=16.0, jitter=0.25, rate_limit_budget=240.0
    )


def test_scale_leaves_what_is_switched_off():
    """No limit stays no limit at every scale."""
    policy = scaled(PollPolicy(), 0.5)

    assert policy.stall_after is None
    assert policy.unknown_state_budget is None


def test_scale_of_one_is_the_policy_itself():
    """At natural speed nothing is made anew."""
    policy = PollPolicy()

    assert policy is scaled(policy, 1)
    assert policy is scaled(policy, 1.0)


@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan])
def test_scale_that_makes_no_policy_is_refused(factor):
    """A scaled policy is validated like any other."""
    with pytest.raises(ConfigurationError, match="PollPolicy"):
        scaled(PollPolicy(), factor)


@given(factor=st.floats(0.001, 1000))
def test_scaling_keeps_proportions(factor):
    """Every duration grows by the same factor, so that a sped-up test has the shape of the real."""
    policy = scaled(PollPolicy(), factor)

    assert math.isclose(4, policy.max_interval / policy.initial_interval)
    assert math.isclose(factor, policy.min_interval)


def test_rate_limit_delays_follow_from_the_other_settings():
    """After a 429 without a hint a call waits 5 s growing to 30 s, at any scale of the policy."""
    policy = RetryPolicy()

    assert (policy.first_rate_limit_delay, policy.max_rate_limit_delay) == (5.0, 30.0)
    policy = scaled(policy, 0.1)
    assert (policy.first_rate_limit_delay, policy.max_rate_limit_delay) == (0.5, 3.0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_job_window_is_single(protocol):
    """The sentinel can be compared with `is`, after pickle and copy too."""
    assert JOB_TIME_LIMIT is pickle.loads(pickle.dumps(JOB_TIME_LIMIT, protocol))  # noqa: S301
    assert JOB_TIME_LIMIT is copy.copy(JOB_TIME_LIMIT)
    assert JOB_TIME_LIMIT is copy.deepcopy([JOB_TIME_LIMIT])[0]
    assert JOB_TIME_LIMIT is policies.JOB_TIME_LIMIT
    assert repr(JOB_TIME_LIMIT) == "JOB_TIME_LIMIT"
