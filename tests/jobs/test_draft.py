"""What a job is created from, and when a job found is the same."""

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import BatchInferenceJob, ConfigurationError, Dataset, InferenceParameters
from fireworks_batch.jobs.draft import differences, draft_job
from fireworks_batch.models.job import Placement
from fireworks_batch.models.names import JobName
from fireworks_batch.models.states import MultiRegion, Precision

MODEL = "accounts/fireworks/models/demo-8b"


def draft(**options) -> BatchInferenceJob:
    """A draft of a small job, with something else said."""
    return draft_job("acme", "nightly", **{"model": MODEL, "input_dataset": "in", **options})


# --- Drafting -------------------------------------------------------------------------------------


def test_bare_ids_become_resource_names():
    """Datasets and jobs named by their ids are the account's own."""
    made = draft(output_dataset="out", continued_from=JobName(None, "before"))

    assert made == BatchInferenceJob(
        name="accounts/acme/batchInferenceJobs/nightly",
        model=MODEL,
        input_dataset_id="accounts/acme/datasets/in",
        output_dataset_id="accounts/acme/datasets/out",
        continued_from_job_name="accounts/acme/batchInferenceJobs/before",
    )


def test_a_dataset_names_itself():
    """A dataset fetched before stands for its name, whoever's it is."""
    made = draft(input_dataset=Dataset(name="accounts/other/datasets/in"))

    assert made.input_dataset_id == "accounts/other/datasets/in"


def test_mappings_become_messages():
    """Sampling parameters and a placement may be given as mappings; extra_body is encoded."""
    made = draft(
        inference_parameters={"temperature": 0.5, "extra_body": {"stop": ["END"]}},
        placement={"multi_region": "EUROPE", "regions": ["a"]},
    )

    assert made.inference_parameters == InferenceParameters(
        temperature=0.5, extra_body='{"stop": ["END"]}'
    )
    assert made.placement == Placement(multi_region=MultiRegion.EUROPE, regions=("a",))


def test_a_continued_job_needs_no_model_and_no_input():
    """The server waives both."""
    made = draft_job("acme", "nightly", continued_from=JobName("acme", "before"))

    assert (made.model, made.input_dataset_id) == ("", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": None}, "a job needs model=, unless continued_from= names a job to continue"),
        ({"input_dataset": None}, "a job needs input_dataset=, unless continued_from="),
        ({"model": "demo-8b"}, "model 'demo-8b' has no account: say 'accounts/fireworks/models/"),
        ({"model": "fireworks/demo-8b"}, "'fireworks/demo-8b' is not the name of a model"),
        ({"model": 5}, "5 is not the name of a model"),
        ({"input_dataset": "a/b"}, "'a/b' is not the name of a dataset; one looks like"),
        ({"output_dataset": "a b"}, "dataset id 'a b' cannot be used in a path"),
        ({"display_name": 5}, "display_name must be a string, not 5"),
        ({"system_prompt": b"x"}, "system_prompt must be a string, not b'x'"),
        ({"max_job_duration": "1d"}, "max_job_duration must be a number of seconds from 43200 (12"),
        ({"max_job_duration": float("nan")}, "max_job_duration must be a number of seconds"),
        ({"inference_parameters": [1]}, "inference_parameters must be a mapping, or an instance"),
        ({"inference_parameters": {"max_token": 5}}, "inference_parameters has no member 'max_to"),
        ({"inference_parameters": {"extra_body": "[1]"}}, "extra_body must be a mapping, or the"),
        ({"inference_parameters": {"extra_body": "{"}}, "extra_body must be a mapping, or the"),
        ({"inference_parameters": {"extra_body": '{"a": NaN}'}}, "extra_body must be a mapping"),
        ({"inference_parameters": {"extra_body": {"a": {1}}}}, "extra_body must be a mapping, or"),
        ({"inference_parameters": {"extra_body": 5}}, "extra_body must be a mapping, or the JSON"),
        (
            {"inference_parameters": {"temperature": float("nan")}},
            "inference_parameters.temperature must be a finite number, not nan",
        ),
        (
            {"inference_parameters": {"max_tokens": 2**31}},
            "inference_parameters.max_tokens must be a number of 32 bits, from -2147483648 to",
        ),
        (
            {"inference_parameters": {"top_k": -(2**31) - 1}},
            "inference_parameters.top_k must be a number of 32 bits",
        ),
        (
            {"inference_parameters": {"top_p": float("inf")}},
            "inference_parameters.top_p must be a finite number, not inf",
        ),
        ({"precision": 5}, "precision must be one of UNSPECIFIED, FP16, FP8, "),
        ({"placement": {"regions": "us"}}, "regions must be a list, as in ['us'], not 'us'"),
        ({"placement": {"regions": 5}}, "placement cannot be {'regions': 5}: "),
        ({"placement": {"multi_region": 5}}, "multi_region must be one of UNSPECIFIED, GLOBAL, "),
    ],
)
def test_what_is_malformed_is_named(options, text):
    """The error says which value, and what would be right, before anything is sent."""
    with pytest.raises(ConfigurationError) as caught:
        draft(**options)

    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"model": "account/fireworks/models/demo-8b"}, MODEL),
        ({"model": "accounts/fireworks/model/demo-8b"}, MODEL),
        ({"model": "fireworks/models/demo-8b"}, MODEL),
        ({"model": "accounts/fireworks/router/fast"}, "accounts/fireworks/routers/fast"),
        ({"input_dataset": "account/acme/datasets/in"}, "accounts/acme/datasets/in"),
        ({"precision": "FP9"}, "FP8"),
        ({"precision": "bf16"}, "BF16"),
        ({"placement": {"multi_region": "EUROP"}}, "EUROPE"),
        ({"placement": {"multiregion": "US"}}, "multi_region"),
        ({"inference_parameters": {"max_token": 5}}, "max_tokens"),
    ],
)
def test_what_is_misspelt_is_told_with_what_is_near(options, meant):
    """The error about a misspelt name or member ends with the one that was probably meant."""
    with pytest.raises(ConfigurationError) as caught:
        draft(**options)

    assert f"; did you mean {meant!r}?" in str(caught.value)


def test_a_precision_that_is_newer_than_this_release_can_be_sent():
    """A member of the enumeration is passed on, whatever its value; a string must be published."""
    assert draft(precision=Precision("FP2")).precision == "FP2"


@pytest.mark.parametrize("seconds", [0, 60, 43199, 259201, 1e6])
def test_a_time_limit_out_of_range_is_refused(seconds):
    """The server takes 12 to 72 hours: the error says so, with the value."""
    with pytest.raises(ConfigurationError) as caught:
        draft(max_job_duration=seconds)

    assert str(caught.value) == (
        "max_job_duration must be a number of seconds from 43200 (12 hours) to 259200 (72 hours), "
        f"not {seconds}"
    )


@pytest.mark.parametrize("seconds", [43200, 50000, 259200])
def test_a_time_limit_in_range_is_kept(seconds):
    """The bounds belong to the range."""
    assert draft(max_job_duration=seconds).max_job_duration == seconds


@pytest.mark.parametrize("job_id", ["", "9a", "A", "a-", "a_b", "a" * 64, None])
def test_an_id_follows_the_servers_rule(job_id):
    """An id that the server would refuse is refused here."""
    with pytest.raises(ConfigurationError, match="cannot be given to a new resource: ids have"):
        draft_job("acme", job_id, model=MODEL, input_dataset="in")


@pytest.mark.parametrize("job_id", ["a", "a" * 63, "a-1"])
def test_a_good_id_is_taken(job_id):
    """One letter is enough, 63 characters are the most."""
    assert draft_job("acme", job_id, model=MODEL, input_dataset="in").id == job_id


def test_a_deployed_model_becomes_its_model():
    """The server knows jobs of models only."""
    assert draft(model="accounts/acme/deployedModels/x").model == "accounts/acme/models/x"


# --- Comparing ------------------------------------------------------------------------------------

FULL = draft(
    output_dataset="out",
    inference_parameters={"temperature": 0.1, "max_tokens": 5, "extra_body": {"a": [1]}},
    display_name="Nightly",
    precision="FP8",
    max_job_duration=86400,
    system_prompt="Be brief.",
    placement={"multi_region": "US"},
)


def test_a_draft_is_the_same_as_itself():
    """Nothing differs."""
    assert differences(FULL, FULL) == ()


def test_what_was_not_said_is_not_compared():
    """The server fills in what a draft leaves open."""
    found = attrs.evolve(FULL, display_name="x", precision=Precision.BF16, created_by="y")

    assert differences(draft(), found) == ()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("max_job_duration", 86400.0),
        (
            "inference_parameters",
            InferenceParameters(
                temperature=struct.unpack("f", struct.pack("f", 0.1))[0],
                max_tokens=5,
                n=1,
                extra_body='{"a":[1]}',
            ),
        ),
        ("input_dataset_id", "in"),
        ("placement", None),
        ("placement", Placement(multi_region=MultiRegion.US, region="us-1")),
    ],
)
def test_what_the_server_may_respell_is_the_same(member, value):
    """Floats of 32 bits, JSON with other spaces, a bare id, a young job without a placement."""
    assert differences(FULL, attrs.evolve(FULL, **{member: value})) == ()


@pytest.mark.parametrize("given", [None, "", "{}"])
def test_an_extra_body_without_members_is_as_good_as_none(given):
    """The server fills one in where there is none."""
    sent = draft(inference_parameters={"extra_body": {}})
    parameters = InferenceParameters(extra_body=given)

    assert differences(sent, attrs.evolve(sent, inference_parameters=parameters)) == ()
    assert differences(sent, attrs.evolve(sent, inference_parameters=None)) == ()


def test_true_is_not_one():
    """In an extra body these are two things, whatever Python says; 1 and 1.0 are the same."""
    sent = draft(inference_parameters={"extra_body": {"logprobs": [True, 1]}})
    for text, is_same in (('{"logprobs":[true,1.0]}', True), ('{"logprobs":[1,true]}', False)):
        parameters = InferenceParameters(extra_body=text)
        there = attrs.evolve(sent, inference_parameters=parameters)
        assert (differences(sent, there) == ()) is is_same


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        (
            "model",
            "accounts/fireworks/models/x",
            f"model is 'accounts/fireworks/models/x', not '{MODEL}'",
        ),
        ("input_dataset_id", "", "input_dataset_id is '', not 'accounts/acme/datasets/in'"),
        ("display_name", "x", "display_name is 'x', not 'Nightly'"),
        ("precision", Precision.FP16, "precision is 'FP16', not 'FP8'"),
        ("max_job_duration", None, "max_job_duration is None, not 86400.0"),
        ("inference_parameters", None, "inference_parameters.max_tokens is None, not 5"),
        ("placement", Placement(), "placement.multi_region is 'UNSPECIFIED', not 'US'"),
    ],
)
def test_a_difference_is_named(member, value, text):
    """By its member, what is there, and what was asked for."""
    assert differences(FULL, attrs.evolve(FULL, **{member: value}))[0] == text


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_any_float_survives_the_wire(value):
    """Whatever 32 bits can hold, sent as 64, is the same when it comes back."""
    sent = draft(inference_parameters={"temperature": float(value)})

    assert differences(sent, sent) == ()
