"""The options of the commands: called as the arguments of the library, and all on their page."""

import inspect
import re
from pathlib import Path

import attrs
import pytest
import typer

from fireworks_batch import BatchClient, InferenceParameters, Limits, PollPolicy
from fireworks_batch.cli.app import app
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.jobs.endpoints import Jobs

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
PROGRAM = typer.main.get_command(app)
GROUPS = {
    "inference_parameters": InferenceParameters,
    "limits": Limits,
    "poll": PollPolicy,
}
CONNECTION = {"api_key_file", "account_id", "base_url", "json", "debug"}
# What no argument of the library stands for.
RECORDS = {"template", "id_column", "limit"}
OWN = {
    "run": {"delete_on_interrupt", "format"} | RECORDS,
    "check": {"price"} | RECORDS,
    "submit": RECORDS,
    "collect": {"format"} | RECORDS,
    "wait": {"delete_on_interrupt", "all", "filter", "exec"},
    "results": {"output", "errors", "format"},
    "list": {"limit"},
    "datasets list": {"limit"},
}
METHODS = {
    "run": BatchClient.run,
    "check": BatchClient.check,
    "submit": BatchClient.submit,
    "collect": BatchClient.collect,
    "wait": Jobs.wait_until_terminal,
    "results": BatchClient.results,
    "list": Jobs.list,
    "delete": Jobs.delete,
    "datasets list": Datasets.list,
    "datasets upload": Datasets.upload,
    "datasets download": Datasets.download,
}


def commands(group, path=""):
    """Yield each command with its whole name."""
    for name, command in group.commands.items():
        whole = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, whole)
        else:
            yield whole, command


COMMANDS = dict(commands(PROGRAM))


def options(command):
    """Return the options of a command by the names of their values."""
    return {
        param.name: [*param.opts, *param.secondary_opts]
        for param in command.params
        if param.param_type_name == "option"
    }


@pytest.mark.parametrize("name", METHODS)
def test_an_option_has_the_name_of_the_argument_it_stands_for(name):
    """Or of a member of an argument; the command's own options are few."""
    arguments = {*inspect.signature(METHODS[name]).parameters}
    for argument, cls in GROUPS.items():
        if argument in arguments:
            arguments |= {field.name for field in attrs.fields(cls)}
    given = options(COMMANDS[name])
    assert {*given} - arguments - CONNECTION == OWN.get(name, set())
    assert all(f"--{value.replace('_', '-')}" in names for value, names in given.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_its_options_are_on_the_page(name):
    """By their whole names, and the short ones."""
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    words = {word for code in re.findall(r"`([^`]+)`", text) for word in code.split()}
    assert {*name.split()} <= words
    for names in options(COMMANDS[name]).values():
        assert {*names} - {"--help"} <= words


def test_the_help_has_the_exit_codes_of_the_page(cli, monkeypatch):
    """And the order of several jobs' codes."""
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(cli("--help").out.split())
    codes = text.partition("Exit codes: ")[2]
    assert [*map(int, re.findall(r"(?:^|; )(\d+) ", codes))] == [*map(int, ExitCode)]
    order = re.compile(r"the first of ([\d, ]+) that")
    assert order.search(text)[1] == order.search(PAGE)[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_fits_80_columns_and_has_no_cut_line(cli, monkeypatch, name):
    """The list of commands has the whole first line of each."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli(*name.split(), "--help").lines
    assert max(map(len, lines)) <= 80
    group = name.split()[:-1]
    assert "..." not in next(
        line for line in cli(*group, "--help").lines if line.split()[:1] == name.split()[-1:]
    )


@pytest.mark.parametrize("name", ["", "datasets", *COMMANDS])
def test_a_help_has_a_short_name(cli, name):
    """As most tools have."""
    assert cli(*name.split(), "-h").out == cli(*name.split(), "--help").out
