"""Ids, resource names, and references to jobs."""

import json
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.names import (
    DatasetName,
    JobName,
    JobRef,
    check_id,
    dataset_name,
    model_name,
    parse_dataset_name,
    parse_job_name,
)

REF = JobRef(account_id="acme", job_id="nightly-eval", base_url="https://api.fireworks.ai")
MEMBERS = {
    "version": 1,
    "account_id": "acme",
    "job_id": "nightly-eval",
    "base_url": "https://api.fireworks.ai",
}
UNSAFE = ["/", "\\", "?", "#", "%", ":", " ", "\t", "\n", "\r", "\0", "\x1f", "\x7f", "\x85"]


@pytest.mark.parametrize(
    "text",
    [
        "nightly-eval",
        "n",
        "9",
        "-",
        "Nightly_Eval",
        "bij-0a1b2c3d",
        "a" * 200,
        "...",
        ".a",
        "a.b",
        "a~b",
        "a@b",
        "a;b",
        "a&b=c+d,e",
        "naïve",
        "日本",
        "🎆",
    ],
)
def test_id_that_cannot_change_a_path_is_accepted(text):
    """What the server might have named a job is accepted, though we would not choose it."""
    assert text == check_id("job id", text)


@pytest.mark.parametrize("unsafe", [*UNSAFE, "\xa0", "\u2028", "\u3000", "\ud800"])
@pytest.mark.parametrize("form", ["{}", "a{}", "{}a", "a{}b"])
def test_id_with_a_character_that_means_something_is_refused(form, unsafe):
    """One separator, escape, space, control character or lone surrogate refuses an id."""
    with pytest.raises(ConfigurationError) as caught:
        check_id("job id", form.format(unsafe))

    assert repr(unsafe) in str(caught.value)


@pytest.mark.parametrize("text", [".", "..", ".\n", "..\n"])
def test_dot_segment_is_refused(text):
    """An id that would walk up the path is refused."""
    with pytest.raises(ConfigurationError, match="cannot be used in a path"):
        check_id("job id", text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "job id must be a string, not None"),
        (7, "job id must be a string, not 7"),
        (b"a", "job id must be a string, not b'a'"),
        ("", "job id is empty"),
        (
            "a:cancel",
            (
                "job id 'a:cancel' cannot be used in a path because of ':'; "
                "give the bare id, as in 'nightly-eval'"
            ),
        ),
    ],
)
def test_refusal_of_an_id_says_what_and_why(value, message):
    """The error of a bad id names the kind, the value and the reason."""
    with pytest.raises(ConfigurationError) as caught:
        check_id("job id", value)

    assert message == str(caught.value)


@given(text=st.text())
@example("\ud800")
@example("..\n")
def test_accepted_id_stays_one_segment(text):
    """Any accepted id, quoted into a path, is one segment of it and reads back as it was."""
    try:
        accepted = check_id("job id", text)
    except ConfigurationError:
        return

    parts = urlsplit(f"https://host/v1/accounts/{quote(accepted, safe='')}/batchInferenceJobs")
    before, segment, after = parts.path.rsplit("/", 2)
    assert text == unquote(segment)
    assert segment not in {"", ".", ".."}
    assert (before, after) == ("/v1/accounts", "batchInferenceJobs")
    assert (parts.query, parts.fragment) == ("", "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nightly-eval", JobName(None, "nightly-eval")),
        ("accounts/acme/batchInferenceJobs/nightly-eval", JobName("acme", "nightly-eval")),
        ("accounts/a.b/batchInferenceJobs/9", JobName("a.b", "9")),
    ],
)
def test_job_is_named_by_id_or_resource_name(text, name):
    """A job's id names no account, its resource name does."""
    assert name == parse_job_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "acme/nightly-eval",
        "accounts/acme/datasets/nightly-eval",
        "accounts/acme/batchInferenceJobs",
        "accounts/acme/batchInferenceJobs/a/b",
        "/",
    ],
)
def test_other_names_are_refused_with_an_example(text):
    """What is neither an id nor the name of such a job is refused, and the error shows one."""
    with pytest.raises(ConfigurationError) as caught:
        parse_job_name(text)

    assert str(caught.value) == (
        f"{text!r} is not the name of a batch inference job; one looks like "
        "'accounts/acme/batchInferenceJobs/nightly-eval' or just 'nightly-eval'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "accounts/acme/batchinferencejobs/a",
        "accounts/acme/batch-inference-jobs/a",
        "Accounts/acme/batchInferenceJobs/a",
        "/accounts/acme/batchInferenceJobs/a",
        "acme/batchInferenceJobs/a",
        "https://api.fireworks.ai/v1/accounts/acme/batchInferenceJobs/a",
    ],
)
def test_a_name_that_is_nearly_right_is_told_as_it_was_meant(text):
    """The error ends with the resource name that was probably meant."""
    with pytest.raises(ConfigurationError) as caught:
        parse_job_name(text)

    assert str(caught.value).endswith("; did you mean 'accounts/acme/batchInferenceJobs/a'?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accounts//batchInferenceJobs/a", "account id is empty"),
        ("accounts/a/batchInferenceJobs/", "job id is empty"),
        ("accounts/../batchInferenceJobs/a", "account id '..' cannot"),
        ("accounts/a/batchInferenceJobs/..", "job id '..' cannot"),
        ("accounts/a/batchInferenceJobs/b?c", "job id 'b?c' cannot"),
        ("accounts/a:b/batchInferenceJobs/c", "account id 'a:b' cannot"),
        ("", "job id is empty"),
        (None, "job id must be a string"),
        (7, "job id must be a string"),
        (["a"], "job id must be a string"),
    ],
)
def test_both_ids_of_a_name_are_checked(text, message):
    """The ids inside a resource name must be as safe as a bare one."""
    with pytest.raises(ConfigurationError) as caught:
        parse_job_name(text)

    assert str(caught.value).startswith(message)


@given(value=st.text() | st.none() | st.integers() | st.binary() | st.lists(st.text()))
def test_any_job_name_is_read_or_refused(value):
    """Whatever is given as a job is read, or refused as a ConfigurationError."""
    try:
        name = parse_job_name(value)
    except ConfigurationError:
        return

    assert value in {name.job_id, f"accounts/{name.account_id}/batchInferenceJobs/{name.job_id}"}


def test_reference_reads_as_its_resource_name():
    """`str()` of a reference is the resource name, which reads back to the same ids."""
    assert str(REF) == "accounts/acme/batchInferenceJobs/nightly-eval"
    assert parse_job_name(str(REF)) == JobName("acme", "nightly-eval")


def test_reference_shows_its_host():
    """`repr()` of a reference says where the job lives, on one line."""
    assert repr(REF) == (
        "<JobRef 'accounts/acme/batchInferenceJobs/nightly-eval' on https://api.fireworks.ai>"
    )


def test_reference_is_stored_with_its_version():
    """`to_json` writes one line with the ids, the host and a version, and nothing else."""
    text = REF.to_json()

    assert json.loads(text) == MEMBERS
    assert "\n" not in text


SAFE = st.text(min_size=1).filter(lambda text: not any(c.isspace() for c in text))


@given(account_id=SAFE, job_id=SAFE, base_url=st.text(min_size=1))
def test_stored_reference_comes_back(account_id, job_id, base_url):
    """Any reference of checked ids survives `to_json` and `from_json`."""
    try:
        ref = JobRef(check_id("account id", account_id), check_id("job id", job_id), base_url)
    except ConfigurationError:
        assume(False)

    assert ref == JobRef.from_json(ref.to_json())
    assert ref == JobRef.from_json(ref.to_json().encode())


def test_stored_reference_may_have_more_members():
    """Members of a later release of the same version are passed over."""
    assert JobRef.from_json(json.dumps({**MEMBERS, "note": "x"})) == REF


@pytest.mark.parametrize("version", [2, 0, None, "1", [1]])
def test_other_version_is_refused_by_name(version):
    """A reference of another version is refused, and the error names both versions."""
    with pytest.raises(ConfigurationError) as caught:
        JobRef.from_json(json.dumps({**MEMBERS, "version": version}))

    assert str(caught.value) == (
        f"a job reference of version {version!r} cannot be read here; this release reads version 1"
    )


@pytest.mark.parametrize("member", ["version", "account_id", "job_id", "base_url"])
@pytest.mark.parametrize("value", [None, "", 5, {}, ["a"]])
def test_stored_reference_needs_each_member(member, value):
    """A member that is missing, empty or no string refuses the whole reference."""
    changed = {**MEMBERS, member: value}
    without = {key: value for key, value in MEMBERS.items() if key != member}

    for members in (changed, without):
        with pytest.raises(ConfigurationError):
            JobRef.from_json(json.dumps(members))


@pytest.mark.parametrize("member", ["account_id", "job_id"])
def test_ids_of_a_stored_reference_are_checked(member):
    """A stored reference cannot smuggle a path into a request."""
    with pytest.raises(ConfigurationError, match="cannot be used in a path"):
        JobRef.from_json(json.dumps({**MEMBERS, member: "../../secrets"}))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '"x"', "1", "[" * 100_000, b"\xff", "9" * 5000, None, 7]
)
def test_garbage_is_no_reference(text):
    """What is no stored reference is refused as such, however malformed."""
    with pytest.raises(ConfigurationError, match=r"^not a stored job reference: "):
        JobRef.from_json(text)


@given(text=st.text() | st.binary())
def test_any_text_is_read_or_refused(text):
    """Reading a stored reference raises nothing but a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        JobRef.from_json(text)


@pytest.mark.parametrize(
    ("text", "account_id", "dataset_id"),
    [("in", None, "in"), ("accounts/acme/datasets/in", "acme", "in")],
)
def test_a_dataset_is_named_by_id_or_resource_name(text, account_id, dataset_id):
    """Both forms are read, and the resource name is written again."""
    name = parse_dataset_name(text)

    assert name == DatasetName(account_id, dataset_id)
    assert dataset_name("acme", name.dataset_id) == "accounts/acme/datasets/in"


@pytest.mark.parametrize(
    "text", ["accounts/acme/batchInferenceJobs/in", "a/b", "accounts/a/datasets"]
)
def test_the_name_of_something_else_is_no_dataset(text):
    """The error shows what a name looks like."""
    with pytest.raises(ConfigurationError, match="is not the name of a dataset; one looks like"):
        parse_dataset_name(text)


def test_a_router_is_named_by_its_resource_name():
    """It is sent as it is, though nobody knows whether routers serve batch jobs."""
    name = "accounts/fireworks/routers/fast"
    assert name == model_name(name)
    for bad in (f"{name}/x", "accounts/fireworks/routers/", "accounts/a b/routers/fast"):
        with pytest.raises(ConfigurationError):
            model_name(bad)


@pytest.mark.parametrize("segment", ["models", "deployedModels"])
def test_a_model_is_named_by_its_resource_name(segment):
    """A deployed model stands for its model."""
    assert model_name(f"accounts/acme/{segment}/demo") == "accounts/acme/models/demo"


@pytest.mark.parametrize("unsafe", ["..", "a/b", "", None, "a?b"])
def test_a_reference_made_by_hand_cannot_smuggle_a_path_either(unsafe):
    """It is refused at birth, so that no call has to look at it again."""
    with pytest.raises(ConfigurationError, match="job id"):
        JobRef("acme", unsafe, "https://api.example")
    with pytest.raises(ConfigurationError, match="account id"):
        JobRef(unsafe, "nightly", "https://api.example")
