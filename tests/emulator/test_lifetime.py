"""Starting, stopping, settings, assumptions, and the command line."""

import asyncio
import errno
import signal
import subprocess
import sys
import typing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import attrs
import pytest

import fireworks_batch.emulator
from fireworks_batch.emulator import Assumptions, Emulator, Phase
from fireworks_batch.emulator.assumptions import parse_assumptions
from fireworks_batch.emulator.clock import proto_duration
from fireworks_batch.emulator.command import main
from fireworks_batch.emulator.http.port import is_loopback

JOBS = "/v1/accounts/acme/batchInferenceJobs"
KEY = {"Authorization": "Bearer fw_emulator"}


async def status(emulator: Emulator, path: str = JOBS) -> int:
    """Ask once on a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(emulator.base_url + path, headers=KEY) as response,
    ):
        return response.status


# Starting and stopping


async def test_an_emulator_listens_between_start_and_stop():
    """Then it answers, and afterwards nobody does."""
    emulator = Emulator()
    await emulator.start()
    assert await status(emulator) == 200
    await emulator.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(emulator)


async def test_starting_twice_is_an_error():
    """One emulator listens once, and goes on listening."""
    async with Emulator() as emulator:
        with pytest.raises(RuntimeError, match=r"^the emulator is started already$"):
            await emulator.start()
        assert await status(emulator) == 200


async def test_stopping_twice_is_none():
    """Also before any start."""
    emulator = Emulator()
    await emulator.stop()
    async with emulator:
        await emulator.stop()


@pytest.mark.parametrize(
    "use",
    [
        lambda emulator: emulator.base_url,
        lambda emulator: emulator.storage_url,
        lambda emulator: emulator.now(),
        lambda emulator: emulator.add_dataset("a", files={}),
        lambda emulator: emulator.replace_file("a", "x", b""),
        lambda emulator: emulator.script_job("a"),
        lambda emulator: emulator.add_fault("reset"),
        lambda emulator: emulator.clear_faults(),
        lambda emulator: emulator.requests(),
        lambda emulator: emulator.reset(),
    ],
)
def test_an_emulator_that_was_never_started_is_of_no_use(use):
    """It says so, whatever it is used for."""
    with pytest.raises(RuntimeError, match=r"^the emulator was not started: enter it"):
        use(Emulator())


async def test_a_restart_ends_an_outage(clock):
    """The same address, the same jobs, the same requests; time went on."""
    emulator = Emulator(clock=clock.read)
    async with emulator:
        url = emulator.base_url
        emulator.script_job("nightly")
        assert await status(emulator) == 200
    clock.advance(60)
    assert len(emulator.requests()) == 1
    async with emulator:
        assert emulator.base_url == url
        assert await status(emulator, f"{JOBS}/nightly") == 200
        assert len(emulator.requests()) == 2


def test_a_restart_in_another_loop_goes_on_with_the_time():
    """Emulated time does not jump with the loop."""
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    emulator = Emulator(epoch=epoch)
    seen = []

    async def run() -> None:
        async with emulator:
            seen.append((emulator.now() - epoch).total_seconds())

    asyncio.run(run())
    asyncio.run(run())
    assert 0 <= seen[0] <= seen[1] < 5


async def test_emulators_share_nothing():
    """Jobs, faults and requests of one are unknown to the other."""
    async with Emulator() as one, Emulator() as other:
        one.script_job("nightly")
        one.add_fault("status", times=None)
        assert [await status(one), await status(other)] == [503, 200]
        assert await status(other, f"{JOBS}/nightly") == 404
        assert (len(one.requests()), len(other.requests())) == (1, 2)


async def test_the_default_clock_is_the_loop_and_the_default_epoch_is_now():
    """An emulator without settings runs in real time."""
    before = datetime.now(UTC)
    async with Emulator() as emulator:
        assert before <= emulator.now() <= datetime.now(UTC)


def test_on_a_virtual_loop_a_day_passes_at_once(in_virtual_time):
    """The loop's time is the default clock, so jobs walk as the test sleeps."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=["RUNNING"], time_limit_seconds=86_400)
        start = emulator.now()
        await asyncio.sleep(86_400)
        assert (emulator.now() - start).total_seconds() == pytest.approx(86_400, abs=1)
        assert str((await client.jobs.get("nightly")).state) == "EXPIRED"

    in_virtual_time(scenario)


FAULTS = [
    {"action": "hang"},
    {"action": "hang", "seconds": 3600.0},
    {"action": "delay", "seconds": 3600.0},
    None,
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_stopping_leaves_nothing_behind(fault):
    """Neither with a client that hangs, nor with an idle connection: no task, and no waiting."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    emulator = Emulator()
    await emulator.start()
    async with aiohttp.ClientSession(emulator.base_url, headers=KEY) as session:
        async with session.get(JOBS) as response:
            await response.read()
        if fault is not None:
            emulator.add_fault(**fault)
            asking = asyncio.create_task(session.post(JOBS, data=b"{}"))
            while len(emulator.requests()) < 2:
                await asyncio.sleep(0)
        start = loop.time()
        await emulator.stop()
        assert loop.time() - start < 0.09
        if fault is not None:
            with pytest.raises(aiohttp.ClientError):
                await asking
    assert asyncio.all_tasks() == before


async def test_stopping_does_not_wait_for_half_a_request():
    """A client in the middle of its body is cut off."""
    before = asyncio.all_tasks()
    emulator = Emulator()
    await emulator.start()
    host, _, port = emulator.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {JOBS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer fw_emulator\r\n"
    writer.write(f"{head}Content-Length: 9\r\n\r\n{{".encode())
    while not emulator.requests():
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await emulator.stop()
    assert loop.time() - start < 0.09
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert asyncio.all_tasks() == before


async def test_a_port_that_is_taken_is_an_error():
    """Nothing is left of the attempt, and it may be repeated."""
    async with Emulator() as first:
        port = int(first.base_url.rpartition(":")[2])
        second = Emulator(port=port)
        named = rf"^\[Errno \d+\] the emulator cannot listen on 127\.0\.0\.1 port {port} \(API\): "
        with pytest.raises(OSError, match=named) as caught:
            await second.start()
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(RuntimeError, match=r"^the emulator was not started: enter it"):
            assert second.base_url  # it would be the first one's
        with pytest.raises(OSError, match=rf" port {port} \(storage\): "):
            await Emulator(storage_port=port).start()
    async with second:
        assert await status(second) == 200


async def test_the_address_may_be_of_the_sixth_version():
    """An IPv6 address is bracketed in the URL."""
    emulator = Emulator(host="::1")
    try:
        await emulator.start()
    except OSError:
        pytest.skip("no IPv6 here")
    assert emulator.base_url.startswith("http://[::1]:")
    assert await status(emulator) == 200
    await emulator.stop()


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed": 0}, "speed must be above 0, not 0"),
        ({"speed": -1.0}, "speed must be above 0, not -1.0"),
        ({"speed": float("inf")}, "speed must be above 0, not inf"),
        ({"speed": float("nan")}, "speed must be above 0, not nan"),
        ({"tick": -1}, "tick must be 0 or more seconds, not -1"),
        ({"url_grace": -1}, "url_grace must be 0 or more seconds, not -1"),
        ({"requests_per_minute": 0}, "requests_per_minute must be 1 or more, not 0"),
        ({"port": 65_536}, "port must be 0 to 65535, not 65536"),
        ({"storage_port": -1}, "storage_port must be 0 to 65535, not -1"),
        ({"accounts": "acme"}, "accounts must be a list of ids, not 'acme'"),
        (
            {"epoch": datetime(2026, 1, 1)},  # noqa: DTZ001  # what is refused
            "epoch must have a time zone, not be datetime.datetime(2026, 1, 1, 0, 0)",
        ),
        (
            {"assume": {"deleted_job": "zombie"}},
            (
                "assumption deleted_job cannot be 'zombie'; choose from: not_found, tombstone,"
                " archived,"
                " reserved"
            ),
        ),
    ],
)
def test_settings_are_checked_at_birth(settings, message):
    """Each error names the setting and its value."""
    with pytest.raises(ValueError, match=r"^") as caught:
        Emulator(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [(86_400_000_000, "86400s"), (500_000, "0.500s"), (1_000_001, "1.000001s")],
)
def test_durations_are_written_as_protobuf_does(microseconds, expected):
    """Without a fraction, or with three or six digits."""
    assert proto_duration(microseconds) == expected


# Assumptions


def positions() -> dict[str, tuple[str, ...]]:
    """Give each switch's positions, from its type."""
    hints = typing.get_type_hints(Assumptions)
    return {name: typing.get_args(hint) for name, hint in hints.items()}


def test_every_switch_has_positions_and_a_default_among_them():
    """At least two to choose from, the default first."""
    defaults = attrs.asdict(Assumptions())
    for name, choices in positions().items():
        assert len(choices) >= 2
        assert choices[0] == defaults[name]


def test_every_position_is_accepted_in_every_form():
    """As a keyword, in a mapping, as text."""
    for name, choices in positions().items():
        for choice in choices:
            made = Assumptions(**{name: choice})
            assert parse_assumptions([f"{name}={choice}"]) == made


def test_an_instance_is_taken_as_it_is():
    """Emulator takes assumptions ready made."""
    Emulator(assume=Assumptions(bare_ids="accept"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deleted_job", r"^an assumption must be written as name=value, not 'deleted_job'$"),
        (
            "deleted=x",
            r"^no assumption 'deleted'; choose from: .*; did you mean 'deleted_job'\?$",
        ),
        (
            "retry_after=later",
            r"^assumption retry_after cannot be 'later'; choose from: none, seconds, date; did you",
        ),
    ],
)
def test_an_assumption_that_does_not_exist_is_named(text, message):
    """With the names or positions that there are."""
    with pytest.raises(ValueError, match=message):
        parse_assumptions([text])


def test_the_public_names():
    """What the package exports is what it promises."""
    assert sorted(fireworks_batch.emulator.__all__) == fireworks_batch.emulator.__all__
    assert Phase("RUNNING") == Phase("JOB_STATE_RUNNING", None, waiting_on_capacity=False)


# Command line


def run_command(*arguments: str) -> subprocess.Popen[str]:
    """Run the emulator as a process."""
    return subprocess.Popen(  # our own interpreter and module
        [sys.executable, "-W", "error", "-m", "fireworks_batch.emulator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_listens_until_it_is_told_to_stop(number):
    """Its URL is the first line; the settings arrive; a signal ends it well."""
    arguments = [
        "--api-key",
        "k",
        "--account-id",
        "globex",
        "--assume",
        "default_order=newest_first",
    ]
    arguments += ["--speed", "60", "--tick", "0", "--seed", "5", "--fail-rows", '{"row": "r1"}']
    with run_command(*arguments) as process:
        try:
            url = process.stdout.readline().strip()
            async with (
                aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session,
                session.get(f"{url}/verifyApiKey") as response,
            ):
                assert response.headers["x-fireworks-account-id"] == "globex"
        finally:
            process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 is not a loopback address: "),  # noqa: S104
        (["--host", "example.org"], "example.org is not a loopback address: "),
        (["--assume", "x=y"], "no assumption 'x'; choose from: "),
        (["--fail-rows", "r1"], "--fail-rows: 'r1' is not JSON"),
        (["--fail-rows", '{"times": 0}'], "times: 0 is not a whole number of 1 or more"),
        (["--speed", "0"], "speed must be above 0, not 0.0"),
        (["--requests-per-minute", "0"], "requests_per_minute must be 1 or more, not 0"),
    ],
)
def test_a_command_line_that_cannot_be_used(arguments, message, capsys):
    """Exit code 2, and why."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("option", "what"), [("--port", "API"), ("--storage-port", "storage")])
async def test_a_taken_port_on_the_command_line(option, what):
    """Exit code 1, one line that names the port, no URL, no traceback."""
    async with Emulator() as emulator:
        port = emulator.base_url.rpartition(":")[2]
        process = await asyncio.to_thread(run_command, option, port)
        output, errors = await asyncio.to_thread(process.communicate)
    assert (process.returncode, output) == (1, "")
    assert f": the emulator cannot listen on 127.0.0.1 port {port} ({what}): " in errors
    assert len(errors.splitlines()) == 1


def test_a_url_that_cannot_be_written_is_no_port_that_is_taken():
    """Exit code 1, and the system's own reason."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    command = [sys.executable, "-W", "error", "-m", "fireworks_batch.emulator"]
    with full.open("w") as stdout:
        finished = subprocess.run(  # our own interpreter and module
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert finished.returncode == 1
    assert finished.stderr.endswith("No space left on device\n")
    assert "listen" not in finished.stderr


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("", False),
        ("::", False),
        ("192.168.1.1", False),
        ("localhost.example", False),
    ],
)
def test_what_only_this_machine_reaches(host, expected):
    """Loopback addresses, and the name for them."""
    assert is_loopback(host) is expected


def test_the_package_does_not_come_with_its_library():
    """Importing fireworks_batch imports no emulator."""
    code = (
        "import sys, fireworks_batch;"
        "assert not [m for m in sys.modules if m.startswith('fireworks_batch.emulator')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
