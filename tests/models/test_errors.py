"""The error tree: as drawn, with its texts and attributes, and through pickle and copy."""

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

import fireworks_batch
from fireworks_batch.models import errors
from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob, Status
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobState, StatusCode

REF = JobRef("acme", "nightly", "https://api.fireworks.ai")
JOB = BatchInferenceJob(
    name="accounts/acme/batchInferenceJobs/nightly",
    state=JobState("JOB_STATE_DREAMING"),
    status=Status(code=StatusCode("NEW"), message="says so"),
    extra={"newMember": [1]},
)
SNAPSHOT = JobSnapshot(
    job=JOB,
    previous_state=None,
    changed=True,
    number=1,
    observed_at=datetime(2026, 9, 14, tzinfo=UTC),
    elapsed=0.0,
    unchanged_for=0.0,
    percent=None,
    rate=None,
    eta=None,
)
CLASSES = [
    value
    for value in {name: getattr(fireworks_batch, name) for name in fireworks_batch.__all__}.values()
    if isinstance(value, type) and issubclass(value, FireworksBatchError)
]
BUILTINS = {
    "OSError": OSError,
    "RuntimeError": RuntimeError,
    "TimeoutError": TimeoutError,
    "ValueError": ValueError,
}


def drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Each class that the docstring draws: the one it hangs from, and its builtin base."""
    lines = re.findall(
        r"^    ([│ ├└─]*)(\w+)(?: \((\w+)\))?", errors.__doc__ or "", flags=re.MULTILINE
    )
    above: list[str] = []
    drawn = {}
    for rails, name, builtin in lines:
        depth = len(rails) // 4
        drawn[name] = (above[depth - 1] if depth else "Exception", builtin or None)
        above[depth:] = [name]
    return drawn


def make(cls: type[FireworksBatchError]) -> FireworksBatchError:
    """An error of a class, with everything that it can carry."""
    if issubclass(cls, errors.APIStatusError):
        return cls(
            "GET /v1/x: 404 NOT_FOUND: gone",
            status=404,
            code="NOT_FOUND",
            reason="gone",
            request_id="r-1",
            retry_after=2.5,
            from_api=False,
        )
    if issubclass(cls, errors.WaitError):
        last = errors.TransportError("reset")
        return cls("it runs on", ref=REF, last_snapshot=SNAPSHOT, last_error=last)
    if issubclass(cls, errors.JobOutcomeError):
        return cls("it ended", job=JOB)
    if cls is errors.ResponseDecodeError:
        return cls("cannot read it", problems=["state: no"], partial=JOB)
    return cls("plain words")


def carried(error: BaseException) -> dict[str, object]:
    """What an error carries, inner errors by their texts: errors compare by identity."""
    return {
        name: repr(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
    }


def test_tree_is_as_drawn():
    """The classes, their bases and their builtin bases are those of the docstring's drawing."""
    defined = {}
    for cls in CLASSES:
        first, *others = cls.__bases__
        defined[cls.__name__] = (first.__name__, others[0].__name__ if others else None)

    assert drawn_tree() == defined


def test_drawing_has_the_whole_tree():
    """The drawing is not empty: it has the 31 classes that the design names."""
    assert len(drawn_tree()) == 32
    assert drawn_tree()["RequestTimeoutError"] == ("TransportError", "TimeoutError")
    assert drawn_tree()["FireworksBatchError"] == ("Exception", None)


def test_every_class_is_exported():
    """Each class of the tree is in `__all__`, sorted."""
    assert {cls.__name__ for cls in CLASSES} == {*errors.__all__} - {"RowProblem", "shown"} | {
        "ResultRowsError"
    }
    assert sorted(errors.__all__) == errors.__all__


@pytest.mark.parametrize("cls", CLASSES)
def test_class_says_what_it_means(cls):
    """Each class has a docstring of its own, and a name that ends in Error."""
    assert cls.__doc__
    assert cls.__doc__ not in {base.__doc__ for base in cls.__mro__[1:]}
    assert cls.__name__.endswith("Error")


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.ClientStateError, RuntimeError),
        (errors.LocalFileError, OSError),
        (errors.RequestTimeoutError, TimeoutError),
        (errors.WaitTimeoutError, TimeoutError),
    ],
)
def test_some_are_caught_as_builtins(cls, builtin):
    """Five classes are also the builtin error that a caller would expect."""
    assert isinstance(make(cls), builtin)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_other_is_a_builtin_error(cls):
    """What is no timeout is not caught as one, nor as an OSError, which a timeout is too."""
    named = {BUILTINS[name] for _, name in drawn_tree().values() if name}
    expected = {
        builtin
        for builtin in named
        for base in cls.__mro__
        if builtin.__name__ == drawn_tree().get(base.__name__, ("", None))[1]
    }

    expected |= {OSError} if TimeoutError in expected else set()

    assert expected == {builtin for builtin in named if issubclass(cls, builtin)}


@pytest.mark.parametrize("cls", CLASSES)
def test_text_is_the_message(cls):
    """`str()` of each error is its message and nothing else, and so are its `args`."""
    error = make(cls)

    assert error.args == (str(error),)
    assert repr(error) == f"{cls.__name__}({str(error)!r})"
    assert "\n" not in repr(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_reference_is_none_where_there_is_no_job(cls):
    """Every error has a `ref`, so that a handler of the base class can ask for it."""
    error = make(cls)

    assert error.ref == (REF if issubclass(cls, errors.WaitError) else None)


@pytest.mark.parametrize("cls", CLASSES)
def test_reference_can_be_added(cls):
    """Whatever ends a wait is given its `ref`, an APIStatusError too."""
    error = make(cls)

    error.ref = REF

    assert pickle.loads(pickle.dumps(error)).ref == REF  # noqa: S301
    assert cls.ref is None


@pytest.mark.parametrize("cls", CLASSES)
def test_error_survives_pickle_and_copies(cls):
    """Pickle of every protocol, copy and deepcopy keep the type, the text and all attributes."""
    error = make(cls)
    error.add_note("seen in the night")

    again = [pickle.loads(pickle.dumps(error, n)) for n in range(6)]  # noqa: S301
    for other in (*again, copy.copy(error), copy.deepcopy(error)):
        assert type(other) is cls
        assert other is not error
        assert str(error) == str(other)
        assert error.args == other.args
        assert carried(error) == carried(other)
        assert other.__notes__ == ["seen in the night"]


@pytest.mark.parametrize("cls", CLASSES)
def test_error_without_extras_survives_pickle(cls):
    """An error with its required arguments only comes back as it was."""
    required = {
        name: {"status": 500, "job": JOB}[name]
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }
    error = cls("few words", **required)

    other = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert str(other) == "few words"
    assert vars(error) == vars(other)


def test_pickled_file_error_keeps_its_errno():
    """The system's number for what is wrong, which OSError keeps outside of the instance."""
    error = pickle.loads(  # noqa: S301 - our own
        pickle.dumps(errors.LocalFileError("disk full", errno=28))
    )

    assert (error.errno, str(error)) == (28, "disk full")


def test_pickled_timeout_is_no_errno():
    """A timeout, which is an OSError too, keeps its text and gains no errno."""
    error = copy.copy(make(errors.WaitTimeoutError))

    assert error.errno is None
    assert str(error) == "it runs on"


def test_status_error_carries_what_the_server_said():
    """An APIStatusError has the status, the code, the server's words, the ids and the wait."""
    error = make(errors.NotFoundError)

    assert vars(error) == {
        "status": 404,
        "code": "NOT_FOUND",
        "message": "gone",
        "request_id": "r-1",
        "retry_after": 2.5,
        "from_api": False,
    }


def test_status_error_has_defaults():
    """Of an APIStatusError only the status must be known; its message is then the text."""
    assert vars(errors.ServerError("down", status=503)) == {
        "status": 503,
        "code": "",
        "message": "down",
        "request_id": None,
        "retry_after": None,
        "from_api": True,
    }


def test_decode_error_carries_problems_and_the_rest():
    """A ResponseDecodeError has its problems as a tuple, and what could be read."""
    error = make(errors.ResponseDecodeError)

    assert vars(error) == {"problems": ("state: no",), "partial": JOB}
    assert vars(errors.ResponseDecodeError("x")) == {"problems": (), "partial": None}


def test_wait_error_carries_the_way_back():
    """A WaitError has the reference, the newest snapshot and the newest failure."""
    error = make(errors.JobStalledError)

    assert (error.ref, error.last_snapshot) == (REF, SNAPSHOT)
    assert str(error.last_error) == "reset"
    assert vars(errors.WaitError("x")) == {"ref": None, "last_snapshot": None, "last_error": None}


def test_outcome_error_carries_the_job():
    """A JobOutcomeError has the whole job, members that nobody knows included."""
    error = pickle.loads(pickle.dumps(make(errors.JobFailedError)))  # noqa: S301

    assert error.job == JOB
    assert error.job.extra == {"newMember": [1]}
