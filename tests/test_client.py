"""How a client is configured, what it refuses before any request, and whose jobs it asks for."""

import asyncio
import logging

import aiohttp
import pytest
from clients import client_of

import fireworks_batch as fb
from fireworks_batch import BatchClient, ConfigurationError, JobRef, PollPolicy, RetryPolicy
from fireworks_batch.connection.configuration import parse_auth_file

KEY = "fw_key"


def requests(emulator, path: str) -> int:
    """Requests whose path ends so."""
    return sum(request.path.endswith(path) for request in emulator.requests())


# --- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"api_key": ""}, "the API key is empty; one looks like 'fw_…'"),
        ({"api_key": 3}, "api_key must be a string or a function, not int"),
        ({"account_id": ""}, "account_id is empty"),
        ({"account_id": "a/b"}, "account_id 'a/b' cannot be used in a path because of '/'"),
        ({"account_id": "accounts/acme"}, "is a resource name; the id is 'acme'"),
        ({"base_url": "api.fireworks.ai"}, "'api.fireworks.ai' is not an http(s) URL"),
        ({"base_url": "ftp://x.example"}, "'ftp://x.example' is not an http(s) URL"),
        ({"base_url": "http://x.example"}, "would send the API key unencrypted; use 'https://…'"),
        (
            {"base_url": "https://api.fireworks.ai/inference/v1"},
            "is the address for inference; batch jobs are at 'https://api.fireworks.ai'",
        ),
        ({"base_url": "https://u:p@x.example"}, "base_url has a user or password in it"),
        ({"base_url": "https://x.example?a=b"}, "has a query or fragment"),
        ({"request_timeout": 0}, "request_timeout must be a number above 0, not 0"),
        ({"connect_timeout": -1}, "connect_timeout must be a number above 0, not -1"),
        ({"transfer_timeout": "60"}, "transfer_timeout must be a number above 0, not '60'"),
        ({"max_connections": 0}, "max_connections must be a whole number of at least 1, not 0"),
        ({"max_connections": True}, "max_connections must be a whole number"),
        ({"max_requests_per_minute": 0}, "max_requests_per_minute must be a number above 0"),
        ({"max_body_bytes": 0.5}, "max_body_bytes must be a whole number of at least 1, not 0.5"),
        ({"headers": {"Authorization": "x"}}, "headers must not set Authorization: use api_key="),
        ({"headers": {"X": "a\nb"}}, "header 'X' has a line break or control character"),
        ({"headers": {"X": 3}}, "headers must map strings to strings, not 'X'"),
        ({"headers": {"X": "\x7f"}}, "header 'X' has a line break or control character"),
        ({"headers": {"X": "\ud800"}}, "header 'X' has a line break or control character"),
        ({"headers": {"X Y": "a"}}, "'X Y' cannot be the name of a header"),
        ({"headers": {"": "a"}}, "'' cannot be the name of a header"),
        ({"headers": {"content-type": "a"}}, "headers must not set content-type: each request"),
        ({"headers": "Accept"}, "headers must map strings to strings, not be str"),
        ({"headers": 3}, "headers must map strings to strings, not be int"),
        ({"session": 3}, "session must be an aiohttp.ClientSession, not 3"),
        ({"trace_configs": 3}, "trace_configs must be a sequence of aiohttp.TraceConfig, not 3"),
        (
            {"trace_configs": [3]},
            "must be a sequence of aiohttp.TraceConfig, not [3]",
        ),
        ({"base_url": "https://x\\y"}, "has characters that no URL can have"),
        ({"base_url": "https://a b.example"}, "has characters that no URL can have"),
        ({"base_url": "https://xn--é.example"}, "has characters that no URL can have"),
        ({"base_url": "https://x.example/\ud800"}, "has characters that no URL can have"),
        ({"connect_timeout": 10**400}, "connect_timeout must be a number above 0, not 1000"),
        ({"proxy": "nowhere"}, "proxy must be an http(s) URL, False, or None"),
        ({"proxy": "http://a b"}, "proxy must be an http(s) URL, False, or None"),
        ({"proxy": "http://[::1"}, "proxy must be an http(s) URL, False, or None"),
        ({"proxy": True}, "proxy must be an http(s) URL, False, or None"),
        ({"ssl": "yes"}, "ssl must be an SSLContext, a Fingerprint or a bool, not 'yes'"),
        ({"poll": 15}, "poll must be a PollPolicy, not 15"),
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
    ],
)
def test_a_bad_argument_is_refused_with_its_value(options, message):
    """Before any request, and without a loop."""
    with pytest.raises(ConfigurationError) as caught:
        BatchClient(**{"api_key": KEY, **options})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trust_env": True}, "must not have trust_env=True"),
        ({"headers": {"authorization": "x"}}, "must not carry credentials of its own"),
        ({"auto_decompress": False}, "must not have auto_decompress=False"),
    ],
)
async def test_a_borrowed_session_must_not_interfere(options, message):
    """What it would add to our requests is refused when it is lent."""
    async with aiohttp.ClientSession(**options) as session:
        with pytest.raises(ConfigurationError, match=message):
            BatchClient(api_key=KEY, session=session)


async def test_trace_configs_are_for_a_session_of_ones_own():
    """They cannot be added to one that is borrowed."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="trace_configs are for the client's own"):
            BatchClient(api_key=KEY, session=session, trace_configs=[aiohttp.TraceConfig()])


# --- Where settings come from -------------------------------------------------------------------


def store(home, text: str) -> None:
    """Write the vendor's file."""
    (home / ".fireworks").mkdir()
    (home / ".fireworks" / "auth.ini").write_text(text)


def test_without_a_key_the_error_says_where_to_put_one():
    """All three places."""
    with pytest.raises(ConfigurationError, match="pass api_key=, set FIREWORKS_API_KEY, or store"):
        BatchClient()


@pytest.mark.parametrize("section", ["", "[fireworks]\n"])
def test_the_vendors_file_has_key_and_account(home, section):
    """Flat or with a section, with comments and quotes."""
    store(home, f'# theirs\n{section}api_key = "fw_file"\naccount_id = filed\n; end\n')
    assert BatchClient().account_id == "filed"


def test_a_byte_order_mark_is_no_part_of_the_file(home):
    """Editors of other systems write one."""
    store(home, "\ufeffapi_key = fw_file\naccount_id = filed\n")
    assert BatchClient().account_id == "filed"


def test_the_files_account_comes_only_with_its_key(home, monkeypatch):
    """A key from elsewhere may be of another account."""
    store(home, "api_key = fw_file\naccount_id = filed\n")
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    assert BatchClient().account_id is None


def test_arguments_come_before_the_environment(monkeypatch):
    """And the environment before the defaults."""
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "from-env")
    monkeypatch.setenv("FIREWORKS_BASE_URL", "https://env.example/prefix/v1/")
    assert (
        repr(BatchClient()) == "<BatchClient of account 'from-env' on https://env.example/prefix>"
    )
    client = BatchClient(account_id="given", base_url="https://given.example")
    assert repr(client) == "<BatchClient of account 'given' on https://given.example>"


def test_a_broken_file_is_refused_unseen():
    """By the number of its line: the text may be a secret."""
    with pytest.raises(ConfigurationError, match="has lines that are not 'key = value': 2") as no:
        parse_auth_file("account_id = acme\nfw_secret\n")
    assert "fw_secret" not in str(no.value)


def test_the_time_scale_multiplies_default_policies_only(monkeypatch, caplog):
    """And is said at INFO."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("FIREWORKS_BATCH_TIME_SCALE", "0.5")
    api = BatchClient(api_key=KEY)._api
    assert (7.5, 30.0, 1800.0) == (
        api.poll.initial_interval,
        api.poll.max_interval,
        api.poll.failure_budget,
    )
    assert api.longest_timeout == 73 * 3600 / 2
    assert "default durations are multiplied by 0.5" in caplog.text
    own = BatchClient(api_key=KEY, poll=PollPolicy(), retry=RetryPolicy())
    assert own._api.poll == PollPolicy()


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "1e300"])
def test_a_bad_time_scale_is_refused(monkeypatch, text):
    """With its value."""
    monkeypatch.setenv("FIREWORKS_BATCH_TIME_SCALE", text)
    with pytest.raises(ConfigurationError, match=f"above 0 and at most 1e.06, not '{text}'"):
        BatchClient(api_key=KEY)


# --- Whose jobs they are ------------------------------------------------------------------------


async def test_a_missing_account_is_looked_up_once(emulator):
    """However many calls need it at the same time."""
    emulator.script_job("nightly", phases=["RUNNING"])
    async with client_of(emulator, account_id=None) as client:
        assert client.account_id is None
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(client.jobs.get("nightly"))
        assert client.account_id == "acme"
    assert requests(emulator, "/accounts") == 1


async def test_several_accounts_are_listed(responses):
    """The error says to choose."""
    listing = {"accounts": [{"name": "accounts/one"}, {"name": "accounts/two"}]}
    responses.get("https://api.example/v1/accounts?pageSize=20", payload=listing)
    async with BatchClient(api_key=KEY, base_url="https://api.example") as client:
        with pytest.raises(ConfigurationError, match=r"several accounts \(one, two\): pass accou"):
            await client.jobs.get("nightly")


async def test_no_account_is_an_error(responses):
    """The key sees none."""
    responses.get("https://api.example/v1/accounts?pageSize=20", payload={"accounts": []})
    async with BatchClient(api_key=KEY, base_url="https://api.example") as client:
        with pytest.raises(ConfigurationError, match="this API key sees no account"):
            await client.jobs.get("nightly")


async def test_a_job_has_four_names(emulator, client):
    """Id, resource name, reference, and the job itself."""
    emulator.script_job("nightly", phases=["RUNNING"])
    job = await client.jobs.get("nightly")
    ref = client.jobs.ref(job)
    assert ref == JobRef("acme", "nightly", emulator.base_url)
    for name in (job.name, ref, job, JobRef.from_json(ref.to_json())):
        assert (await client.jobs.get(name)).id == "nightly"


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("accounts/other/batchInferenceJobs/nightly", "belongs to account 'other'; this client's"),
        (
            JobRef("acme", "nightly", "https://elsewhere.example"),
            "job 'nightly' belongs to another host, https://else",
        ),
        ("accounts/acme/datasets/nightly", "is not the name of a batch inference job"),
        ("nightly:cancel", "cannot be used in a path because of ':'"),
        ("", "job id is empty"),
        (None, "job id must be a string, not None"),
    ],
)
async def test_a_foreign_or_malformed_job_is_refused_unasked(emulator, client, job, message):
    """By get, ref and the wait alike, before any request."""
    for refused in (client.jobs.ref, client.jobs.wait_until_terminal):
        with pytest.raises(ConfigurationError, match=message):
            refused(job)
    with pytest.raises(ConfigurationError, match=message):
        await client.jobs.get(job)
    assert emulator.requests() == []


def test_a_reference_needs_an_account():
    """Without a request there is nobody to ask."""
    with pytest.raises(ConfigurationError, match="the account of job 'nightly' is not known yet"):
        BatchClient(api_key=KEY).jobs.ref("nightly")


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_key_function_is_asked_before_each_request(responses, is_async):
    """Keys rotate."""
    keys = iter(["fw_one", "fw_two"])

    async def ask_later() -> str:
        return next(keys)

    url = "https://api.example/v1/accounts/acme/batchInferenceJobs/nightly"
    responses.get(url, payload={"name": "accounts/acme/x/nightly", "state": "X"}, repeat=True)
    ask = ask_later if is_async else lambda: next(keys)
    async with BatchClient(api_key=ask, account_id="acme", base_url="https://api.example") as made:
        await made.jobs.get("nightly")
        await made.jobs.get("nightly")
    (calls,) = responses.requests.values()
    assert ["Bearer fw_one", "Bearer fw_two"] == [
        call.kwargs["headers"]["Authorization"] for call in calls
    ]


async def test_an_unreadable_job_is_an_error_with_what_could_be_read(responses):
    """The rest is in ``partial``."""
    url = "https://api.example/v1/accounts/acme/batchInferenceJobs/nightly"
    body = {"name": "accounts/acme/batchInferenceJobs/nightly", "state": "JOB_STATE_RUNNING"}
    responses.get(url, payload={**body, "waitingOnCapacity": "false"})
    async with BatchClient(
        api_key=KEY, account_id="acme", base_url="https://api.example"
    ) as client:
        with pytest.raises(
            fb.ResponseDecodeError, match="waitingOnCapacity: expected true or f"
        ) as no:
            await client.jobs.get("nightly")
    assert no.value.partial.state == "RUNNING"
