"""What is sent."""

import json
from urllib.parse import parse_qs

import pytest

from fireworks_batch import ConfigurationError
from fireworks_batch.wire import requests as calls
from fireworks_batch.wire.codec import mask_paths
from fireworks_batch.wire.requests import ListQuery, Request


def test_whole_job_is_asked_for_without_a_query():
    """A GET of a job has its path, no mask, no body, and may be repeated."""
    assert calls.get_job("acme", "nightly") == Request(
        method="GET",
        path="/v1/accounts/acme/batchInferenceJobs/nightly",
        query="",
        body=None,
        repeatable=True,
    )


def test_part_of_a_job_is_asked_for_by_mask():
    """A read mask is sent encoded, in the wire's names, and always with `name`."""
    request = calls.get_job("acme", "nightly", mask_paths(["job_progress.percent", "state"]))

    assert request.query == "readMask=name%2CjobProgress.percent%2Cstate"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("ü", "%C3%BC"),
        ("a%2F", "a%252F"),
    ],
)
def test_ids_are_quoted_into_the_path(text, quoted):
    """Whatever an id holds, it stays one segment of the path."""
    assert calls.get_job(text, text).path == f"/v1/accounts/{quoted}/batchInferenceJobs/{quoted}"


def test_request_reads_as_method_and_path():
    """`str()` of a request, which stands in errors and logs, has no query and no body."""
    assert str(calls.get_job("acme", "nightly", "name")) == (
        "GET /v1/accounts/acme/batchInferenceJobs/nightly"
    )


def test_accounts_are_listed_by_one_get():
    """The account is looked up by one request that may be repeated."""
    assert calls.list_accounts() == Request(
        method="GET", path="/v1/accounts", query="pageSize=20", repeatable=True
    )


def test_a_job_is_created_with_its_id_in_the_query():
    """The body is the job itself; the id stands in the query, and makes a repeat harmless."""
    assert calls.create_job("acme", "nightly", {"model": "m"}) == Request(
        method="POST",
        path="/v1/accounts/acme/batchInferenceJobs",
        query="batchInferenceJobId=nightly",
        body=b'{"model":"m"}',
        repeatable=True,
    )


def test_a_dataset_is_created_inside_an_envelope():
    """The id and the dataset stand side by side in the body, the count as a string."""
    request = calls.create_dataset("acme", "input", example_count=3, display_name="", format="CHAT")

    assert json.loads(request.body) == {
        "datasetId": "input",
        "dataset": {"userUploaded": {}, "exampleCount": "3", "format": "CHAT"},
    }
    assert (request.method, request.path) == ("POST", "/v1/accounts/acme/datasets")


def test_sizes_of_files_are_sent_as_strings():
    """int64 is a string in protojson."""
    request = calls.get_upload_urls("acme", "input", {"a.jsonl": 5, "b.jsonl": 7})

    assert request.path == "/v1/accounts/acme/datasets/input:getUploadEndpoint"
    assert json.loads(request.body) == {"filenameToSize": {"a.jsonl": "5", "b.jsonl": "7"}}


@pytest.mark.parametrize(("lineage", "query"), [(False, ""), (True, "downloadLineage=true")])
def test_download_urls_are_asked_for_without_a_body(lineage, query):
    """The front end refuses a GET that has one."""
    assert calls.get_download_urls("acme", "out", lineage=lineage) == Request(
        method="GET",
        path="/v1/accounts/acme/datasets/out:getDownloadEndpoint",
        query=query,
        body=None,
        repeatable=True,
    )


@pytest.mark.parametrize(
    ("request_", "verb"),
    [
        (calls.delete_job("acme", "x"), "DELETE /v1/accounts/acme/batchInferenceJobs/x"),
        (calls.delete_dataset("acme", "x"), "DELETE /v1/accounts/acme/datasets/x"),
        (calls.get_dataset("acme", "x"), "GET /v1/accounts/acme/datasets/x"),
        (calls.validate_upload("acme", "x"), "POST /v1/accounts/acme/datasets/x:validateUpload"),
    ],
)
def test_requests_on_a_resource_go_to_its_path(request_, verb):
    """Each verb has the path of the contract, and may be repeated."""
    assert (verb, True) == (str(request_), request_.repeatable)


@pytest.mark.parametrize("list_", [calls.list_jobs, calls.list_datasets])
def test_a_page_is_asked_for_with_the_parameters_of_all_pages(list_):
    """What is set is sent, encoded; the token stands beside it."""
    query = ListQuery(filter='state="X"', order_by="create_time desc", read_mask="name,state")

    assert parse_qs(list_("acme", query, "t/1=").query) == {
        "pageSize": ["200"],
        "pageToken": ["t/1="],
        "filter": ['state="X"'],
        "orderBy": ["create_time desc"],
        "readMask": ["name,state"],
    }


def test_the_first_page_has_no_token():
    """And what is not set is not sent."""
    assert calls.list_jobs("acme", ListQuery()).query == "pageSize=200"


@pytest.mark.parametrize("value", ["\ud800", 2**70])
def test_what_json_cannot_spell_is_refused(value):
    """A lone surrogate, or more than 64 bits: the error shows what was to be sent."""
    with pytest.raises(ConfigurationError) as caught:
        calls.create_job("acme", "nightly", {"systemPrompt": value})

    text = str(caught.value)
    assert text.startswith("POST /v1/accounts/acme/batchInferenceJobs cannot be sent as JSON: ")
    assert text.endswith(f"{{'systemPrompt': {value!r}}}")
