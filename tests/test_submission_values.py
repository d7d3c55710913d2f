"""What a run says of itself: submissions as JSON, reports that add up, settings checked."""

import json

import attrs
import pytest

from fireworks_batch import ConfigurationError, InputRowsError, JobRef, JobState
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import RowProblem
from fireworks_batch.results.report import AdoptedJob, RunReport
from fireworks_batch.runs.progress import CheckReport, RunProgress, RunStage
from fireworks_batch.runs.spec import RunOptions
from fireworks_batch.runs.submission import Submission, SubmittedShard

SHARD = SubmittedShard(
    base_id="x",
    newest=1,
    rows=3,
    sha256="0a" * 32,
    first_line=1,
    last_line=4,
)
SUBMISSION = Submission(
    account_id="acme",
    base_url="https://api.fireworks.ai",
    name="nightly",
    model="accounts/fireworks/models/demo-8b",
    has_system_prompt=True,
    limits=Limits(max_rows=3, max_bytes=400),
    shards=(SHARD, attrs.evolve(SHARD, base_id="y", newest=0)),
    adopted=(AdoptedJob(job_id="x-1", state=JobState("NEW"), age=5.5),),
    skipped=2,
)


def test_submission_goes_through_json():
    """What is stored is read back equal, unknown states included."""
    assert Submission.from_json(SUBMISSION.to_json()) == SUBMISSION
    assert Submission.from_json(SUBMISSION.to_json().encode()) == SUBMISSION
    assert 3 == json.loads(SUBMISSION.to_json())["version"]


def test_submission_is_small():
    """A hundred shards fit into any pipeline's message of 48 kB."""
    big = attrs.evolve(SUBMISSION, shards=(SHARD,) * 100)

    assert len(big.to_json()) < 30_000


def test_submission_knows_rows_and_refs():
    """Rows are those of all shards; references are to their newest jobs, in their order."""
    assert 6 == SUBMISSION.rows
    assert (
        JobRef("acme", "x-1", "https://api.fireworks.ai"),
        JobRef("acme", "y-0", "https://api.fireworks.ai"),
    ) == SUBMISSION.refs
    assert "<Submission 'nightly', 6 rows in 2 shards>" == repr(SUBMISSION)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a stored submission: Expecting"),
        ("", "not a stored submission: there is no text"),
        (b" \n", "not a stored submission: there is no text"),
        (b'{"\xe4', "not a stored submission: not UTF-8: byte 0xe4 at position 2"),
        ("[]", "not a stored submission: expected a JSON object, not []"),
        (None, "not a stored submission: "),
        (
            '{"version": 1}',
            "this release reads version 3; call `submit` again: it finds the jobs",
        ),
        ('{"version": 3}', "'account_id' is missing"),
    ],
)
def test_what_is_no_submission_is_refused(text, reason):
    """Anything else says what it is not, and of which version it is."""
    with pytest.raises(ConfigurationError) as caught:
        Submission.from_json(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "member", ["base_id", "newest", "rows", "sha256", "first_line", "last_line"]
)
@pytest.mark.parametrize("value", [None, "a/b", 1.5, [3]])
def test_damaged_submission_is_refused(member, value):
    """A member of a wrong type, or an id that could change a path, is found when it is read."""
    stored = json.loads(SUBMISSION.to_json())
    stored["shards"][0][member] = value

    with pytest.raises(ConfigurationError):
        Submission.from_json(json.dumps(stored))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("model", None),
        ("has_system_prompt", 1),
        ("limits", None),
        ("limits", {"max_bytes": 0}),
        ("limits", {"most": 5}),
    ],
)
def test_damaged_rules_are_refused(member, value):
    """What the rows were checked by is read as strictly as the jobs."""
    stored = {**json.loads(SUBMISSION.to_json()), member: value}

    with pytest.raises(ConfigurationError):
        Submission.from_json(json.dumps(stored))


def report(**changes) -> RunReport:
    """A report of ten rows, all good."""
    return RunReport(**{"rows": 10, "succeeded": 10, "failed": 0, "missing": 0, **changes})


def test_report_adds_up_or_says_what_does_not():
    """Each row is accounted for and nothing else came: else it is in the text."""
    assert report().adds_up
    assert report().is_complete
    assert report(succeeded=7, failed=2, missing=1).adds_up
    assert not report(succeeded=7, failed=2, missing=1).is_complete
    assert not report(succeeded=9).adds_up
    assert not report(remarks=("2 came more than once",)).adds_up
    assert "10 of 10 rows succeeded, 0 failed, 0 are missing, 2 came more than once" == str(
        report(remarks=("2 came more than once",))
    )


def test_check_report_raises_for_bad_rows_only_when_asked():
    """A good one returns itself; bad rows, or none at all, are an error with all of them."""
    good = CheckReport(rows=1, bytes=5, jobs=())
    problems = tuple(RowProblem(number, None, "no") for number in range(1, 13))
    bad = attrs.evolve(good, problems=problems, problem_count=40)

    assert good is good.raise_for_problems()
    with pytest.raises(InputRowsError) as caught:
        bad.raise_for_problems()
    assert (problems, 40) == (caught.value.problems, caught.value.count)
    assert "40 bad rows of input, nothing was sent:\n  line 1: no\n" in str(caught.value)
    assert str(caught.value).endswith("\n  and 30 more")
    with pytest.raises(InputRowsError, match="there are no rows in the requests"):
        attrs.evolve(good, rows=0).raise_for_problems()


def test_progress_has_a_percentage_when_rows_are_counted():
    """None while they are counted; never above 100."""
    progress = RunProgress(
        stage=RunStage.RUNNING,
        rows=0,
        rows_done=0,
        rows_failed=0,
        jobs=1,
        jobs_submitted=0,
        jobs_ended=0,
    )

    assert progress.percent is None
    assert 50.0 == attrs.evolve(progress, rows=10, rows_done=5).percent
    assert 100.0 == attrs.evolve(progress, rows=10, rows_done=50).percent


def test_progress_is_told_on_one_line():
    """Whatever the number of jobs: their snapshots are not in it."""
    progress = RunProgress(
        stage=RunStage.RUNNING,
        rows=10,
        rows_done=5,
        rows_failed=1,
        jobs=500,
        jobs_submitted=500,
        jobs_ended=2,
        under_way=("a-g0",) * 498,
    )

    assert "<RunProgress running, 5/10 rows, 1 failed, 2/500 jobs ended>" == repr(progress)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("limits", 5, "limits must be a Limits, not 5"),
        ("on_bad_row", "drop", "on_bad_row must be 'raise' or 'skip', not 'drop'"),
        ("on_previous", True, "on_previous must be 'adopt' or 'new', not True"),
        (
            "on_previous",
            "adpot",
            "on_previous must be 'adopt' or 'new', not 'adpot'; did you mean 'adopt'?",
        ),
        ("on_abort", "", "on_abort must be 'leave' or 'delete', not ''"),
        ("cleanup", None, "cleanup must be 'keep' or 'datasets', not None"),
        ("output", 5, "output must be a path, not 5"),
        ("max_in_flight", 0, "max_in_flight must be a whole number of at least 1, not 0"),
        ("retry_rows", -1, "retry_rows must be a whole number of at least 0, not -1"),
        ("retry_rows", True, "retry_rows must be a whole number of at least 0, not True"),
        (
            "timeout",
            0,
            "timeout must be a number of seconds above 0, JOB_TIME_LIMIT or None, not 0",
        ),
        ("poll", 5, "poll must be a PollPolicy, not 5"),
        ("on_progress", 5, "on_progress must be a function that is not async, not 5"),
    ],
)
def test_bad_setting_is_refused_by_name(name, value, text):
    """Each setting of a run is checked before anything is read, and says what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        RunOptions(**{name: value})
    assert text == str(caught.value)


def test_limits_are_of_the_exported_class():
    """The default is what the server's newest documents say."""
    assert Limits() == RunOptions().limits
