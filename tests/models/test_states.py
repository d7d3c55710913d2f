"""The server's words, and what each job state means."""

import copy
import operator
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models import states
from fireworks_batch.models.states import (
    JOB_PHASES,
    DatasetFormat,
    DatasetState,
    EncryptionState,
    JobPhase,
    JobState,
    MultiRegion,
    OpenEnum,
    Precision,
    StatusCode,
)

# Spelled out once more, so that the table in the code is compared with something.
PHASES = {
    "unknown": {"UNSPECIFIED"},
    "queued": {"VALIDATING", "PENDING", "CREATING", "CREATING_INPUT_DATASET", "RE_QUEUEING"},
    "running": {"RUNNING"},
    "finishing": {"WRITING_RESULTS", "CANCELLING"},
    "paused": {"PAUSED", "IDLE"},
    "leaving": {"DELETING", "DELETING_CLEANING_UP"},
    "terminal": {
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "EXPIRED",
        "EARLY_STOPPED",
        "DELETED",
        "ARCHIVED",
    },
}
OPEN_ENUMS = [
    DatasetFormat,
    DatasetState,
    EncryptionState,
    JobState,
    MultiRegion,
    Precision,
    StatusCode,
]
MEMBERS = [member for cls in OPEN_ENUMS for member in cls]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def wires(cls: type[OpenEnum]) -> list[str]:
    """The server's spellings of an enumeration, in order."""
    return [member.wire for member in cls]


def test_published_states_are_twenty():
    """`list(JobState)` is the 20 published states."""
    assert {state for names in PHASES.values() for state in names} == {*map(str, JobState)}
    assert len(list(JobState)) == 20


def test_every_published_state_has_a_phase():
    """The table of phases is total: it has each published state, and no other."""
    assert [*JobState] == [*JOB_PHASES]


@pytest.mark.parametrize(("phase", "names"), PHASES.items())
def test_phase_holds_exactly_these_states(phase, names):
    """Each phase has the states that the design gives it, and no other."""
    assert names == {str(state) for state in JobState if state.phase == JobPhase(phase)}


def test_every_phase_is_in_use():
    """No phase is without a state."""
    assert {*JobPhase} == {*JOB_PHASES.values()}


def test_terminal_states_are_those_of_the_terminal_phase():
    """`is_terminal` is true of the seven states that can change no more."""
    assert PHASES["terminal"] == {str(state) for state in JobState if state.is_terminal}


def test_only_completed_is_success():
    """`is_success` is true of COMPLETED alone."""
    assert [state for state in JobState if state.is_success] == [JobState.COMPLETED]


@pytest.mark.parametrize("text", ["NEW", "JOB_STATE_NEW", "completed", "7", ""])
def test_unheard_of_state_is_neither_terminal_nor_success(text):
    """A state that nobody has published is in the unknown phase and ends nothing."""
    state = JobState(text)

    assert state.phase is JobPhase.UNKNOWN
    assert not state.is_terminal
    assert not state.is_success
    assert not state.is_known


@pytest.mark.parametrize("state", JobState)
def test_wire_of_a_job_state_is_prefixed(state):
    """A job state's wire is its bare name with JOB_STATE_ before it."""
    assert f"JOB_STATE_{state.value}" == state.wire
    assert state.name == state.value == str(state) == f"{state}"


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_construction_takes_the_bare_name_and_the_wires(member):
    """Each published member is found by its bare name, by its wire, and by itself."""
    cls = type(member)

    assert member is cls(member.value)
    assert member is cls(member.wire)
    assert member is cls(member)
    assert member.is_known


@pytest.mark.parametrize(
    ("member", "wire"),
    [
        (Precision.UNSPECIFIED, "PRECISION_UNSPECIFIED"),
        (DatasetState.UNSPECIFIED, "STATE_UNSPECIFIED"),
        (MultiRegion.UNSPECIFIED, "MULTI_REGION_UNSPECIFIED"),
        (JobState.UNSPECIFIED, "JOB_STATE_UNSPECIFIED"),
    ],
)
def test_irregular_wires(member, wire):
    """Each enumeration spells its zero value in its own way."""
    assert wire == member.wire


def test_wires_of_precisions():
    """The 15 precisions are spelled as in the contract."""
    spelled = (
        "PRECISION_UNSPECIFIED FP16 FP8 FP8_MM FP8_AR FP8_MM_KV_ATTN FP8_KV FP8_MM_V2 FP8_V2 "
        "FP8_MM_KV_ATTN_V2 NF4 FP4 BF16 FP4_BLOCKSCALED_MM FP4_MX_MOE"
    )

    assert spelled == " ".join(wires(Precision))


def test_wires_of_the_other_enumerations():
    """Dataset states and regions are spelled as in the contract."""
    assert wires(DatasetState) == ["STATE_UNSPECIFIED", "UPLOADING", "READY"]
    assert wires(MultiRegion) == ["MULTI_REGION_UNSPECIFIED", "GLOBAL", "US", "EUROPE", "APAC"]


def test_status_codes_stand_at_their_numbers():
    """The canonical codes are listed in the order of their numbers, from OK at 0."""
    numbers = {code: number for number, code in enumerate(wires(StatusCode))}

    assert numbers == {
        "OK": 0,
        "CANCELLED": 1,
        "UNKNOWN": 2,
        "INVALID_ARGUMENT": 3,
        "DEADLINE_EXCEEDED": 4,
        "NOT_FOUND": 5,
        "ALREADY_EXISTS": 6,
        "PERMISSION_DENIED": 7,
        "RESOURCE_EXHAUSTED": 8,
        "FAILED_PRECONDITION": 9,
        "ABORTED": 10,
        "OUT_OF_RANGE": 11,
        "UNIMPLEMENTED": 12,
        "INTERNAL": 13,
        "UNAVAILABLE": 14,
        "DATA_LOSS": 15,
        "UNAUTHENTICATED": 16,
    }


@pytest.mark.parametrize("cls", OPEN_ENUMS)
def test_zero_value_comes_first(cls):
    """The first member of each enumeration is proto3's zero value."""
    zero = "OK" if cls is StatusCode else "UNSPECIFIED"

    assert zero == str(next(iter(cls)))


def test_every_open_enumeration_is_tested_here():
    """No enumeration of the server's escapes these tests."""
    assert {*OPEN_ENUMS} == {*OpenEnum.__subclasses__()}
    others = {"JOB_PHASES", "TOMBSTONES", "JobPhase", "OpenEnum"}
    assert others | {cls.__name__ for cls in OPEN_ENUMS} == {*states.__all__}


@pytest.mark.parametrize(
    ("cls", "text", "bare"),
    [
        (JobState, "JOB_STATE_DREAMING", "DREAMING"),
        (JobState, "DREAMING", "DREAMING"),
        (JobState, "JOB_STATE_", "JOB_STATE_"),
        (JobState, "", ""),
        (JobState, " COMPLETED", " COMPLETED"),
        (Precision, "FP2", "FP2"),
        (StatusCode, "17", "17"),
    ],
)
def test_unpublished_value_keeps_its_raw_string(cls, text, bare):
    """A value that nobody has published is a pseudo-member: its bare name, and the raw string."""
    member = cls(text)

    assert isinstance(member, cls)
    assert bare == member == str(member) == member.value == member.name == f"{member}"
    assert text == member.wire
    assert not member.is_known


@pytest.mark.parametrize("cls", OPEN_ENUMS)
def test_unpublished_value_is_neither_listed_nor_kept(cls):
    """A pseudo-member changes nothing in its class, so that a long run does not leak."""
    listed, by_value = list(cls), dict(cls._value2member_map_)

    made = [cls(f"NEW_{number}") for number in range(100)]

    assert listed == list(cls)
    assert by_value == cls._value2member_map_
    assert len(listed) == len(cls)
    assert made[0] not in listed
    assert "NEW_0" not in cls.__members__
    assert made[0] is not cls("NEW_0")


@pytest.mark.parametrize("cls", OPEN_ENUMS)
def test_unpublished_values_compare_and_hash_as_strings(cls):
    """Two pseudo-members of one string are equal, to the string too, and one key of a dict."""
    one, other = cls("NEW"), cls("NEW")

    assert one == other == "NEW"
    assert hash(one) == hash(other) == hash("NEW")
    assert {one: 1} == {other: 1} == {"NEW": 1}
    assert one != cls("NEWER")


@pytest.mark.parametrize("member", [*MEMBERS, *JobPhase], ids=repr)
def test_published_members_compare_and_hash_as_strings(member):
    """A published member is equal to its value and has its hash."""
    assert member == member.value
    assert hash(member) == hash(member.value)


@pytest.mark.parametrize("value", [None, 3, 3.5, True, b"COMPLETED", ["COMPLETED"], {}])
def test_what_is_no_string_is_no_state(value):
    """Only a string can be an unpublished value; anything else is the enumeration's ValueError."""
    with pytest.raises(ValueError, match="is not a valid JobState"):
        JobState(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("member", [*MEMBERS, *JobPhase], ids=repr)
def test_published_members_stay_single(member, protocol):
    """Pickle, copy and deepcopy give back the very member."""
    assert member is pickle.loads(pickle.dumps(member, protocol))  # noqa: S301
    assert member is copy.copy(member)
    assert member is copy.deepcopy(member)


@pytest.mark.parametrize("cls", OPEN_ENUMS)
@given(protocol=st.sampled_from(PROTOCOLS), text=st.text())
def test_any_string_survives_pickle_and_copy(cls, protocol, text):
    """Whatever string the server sends comes back from pickle, copy and deepcopy as it was."""
    member = cls(text)

    for again in (
        pickle.loads(pickle.dumps(member, protocol)),  # noqa: S301
        copy.copy(member),
        copy.deepcopy([member])[0],
    ):
        assert type(again) is cls
        assert member == again
        assert member.wire == again.wire
        assert member.is_known == again.is_known


@given(text=st.text(min_size=1))
def test_prefix_says_nothing(text):
    """With or without its prefix a state is the same one."""
    assert JobState(text.removeprefix("JOB_STATE_") or text) == JobState(text)
    assert JobState(text) == JobState(JobState(text).wire) == JobState(JobState(text).value)


@pytest.mark.parametrize(
    "compare",
    [
        lambda state, name: state == name,
        lambda state, name: name == state,
        lambda state, name: not operator.ne(state, name),
        lambda state, name: state in (name, "ENDED"),
    ],
)
@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.RUNNING, JobState("FROBNICATING")])
def test_comparison_with_a_name_of_the_vendors_sdk_warns(compare, state):
    """It is False whatever the state: a loop that was moved from there would never end."""
    with pytest.warns(UserWarning, match="'JOB_STATE_COMPLETED': compare with 'COMPLETED'"):
        assert not compare(state, "JOB_STATE_COMPLETED")


def test_comparison_with_a_misspelt_name_says_what_was_probably_meant():
    """The bare name alone would be no state, either."""
    with pytest.warns(UserWarning, match="compare with 'COMPLETE'; did you mean 'COMPLETED'"):
        assert JobState.COMPLETED != "JOB_STATE_COMPLETE"
