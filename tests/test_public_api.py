"""The promise: what is exported, and that each of it says what it is."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import is_typeddict

import attrs
import pytest

import fireworks_batch
from fireworks_batch import FireworksBatchError

EXPORTED = {
    name: getattr(module, name)
    for module in (fireworks_batch, fireworks_batch.typing)
    for name in module.__all__
}
# A TypedDict describes a dict, a protocol an object of the user's. Neither has objects of its own.
SHAPES = [
    name
    for name, value in EXPORTED.items()
    if is_typeddict(value) or getattr(value, "_is_protocol", False)
]
CLASSES = {
    name: value
    for name, value in EXPORTED.items()
    if isinstance(value, type) and name not in SHAPES
}
PACKAGE = Path(fireworks_batch.__file__).parent
# The public import paths. A change here is one that users must be told of.
PATHS = {
    "fireworks_batch": """
        JOB_TIME_LIMIT APIStatusError AccountSuspendedError AdoptedJob AuthenticationError
        BadRequestError BatchClient BatchInferenceJob CheckReport ClientStateError
        ConfigurationError ConflictError Dataset DatasetConflictError DatasetFormat DatasetState
        EncryptionState FireworksBatchError FleetProgress InferenceParameters InputRowsError
        JobCancelledError JobConflictError JobExpiredError JobFailedError JobGoneError
        JobNotFinishedError JobOutcome JobOutcomeError JobPhase JobPlan JobProgress JobRef
        JobReport JobSnapshot JobStalledError JobState JobStoppedError Lifecycle Limits
        LocalFileError MultiRegion NotFoundError PermissionDeniedError Placement PollFailureError
        PollPolicy Precision RateLimitError RequestTimeoutError ResponseDecodeError ResultRow
        ResultRowsError ResultsReport RetryPolicy RowContents RowError RowProblem RunProgress
        RunReport RunStage ServerError Status StatusCode Submission SubmittedShard TransportError
        UnknownStateError WaitError WaitTimeoutError __version__ chat chats to_dict
    """,
    "fireworks_batch.typing": """
        ApiKey BatchResult ContentPart DatasetLike Datasets Decode JobFleet JobLike JobOutcomes
        JobResults JobWait Jobs Listing Message Output Requests
    """,
    "fireworks_batch.emulator": """
        Assumptions Emulator Exchange Phase RecordedRequest RowFailureError
    """,
}
# The classes that only the client makes, and the public names of each: a promise like the paths.
HANDLES = {
    "BatchResult": "aclose blocks failures get missing_ids raise_for_failures report submission",
    "Datasets": "create delete download get list upload",
    "JobFleet": "aclose add close outcomes progress refs send throw",
    "JobOutcomes": "aclose",
    "JobResults": "blocks job ordered report",
    "JobWait": "aclose close failures last_error last_snapshot next_poll ref send throw",
    "Jobs": "as_completed create delete get list ref wait_until_terminal watch",
    "Listing": "",
}
# Modules whose classes are read by everybody, exported or not.
PURE = [
    "connection.pace",
    "datasets.claim",
    "datasets.ranges",
    "models.dataset",
    "models.job",
    "models.names",
    "models.policies",
    "models.snapshot",
    "models.states",
    "polling.approach",
    "polling.machine",
    "polling.schedule",
    "results.id_sets",
    "results.report",
    "results.rows",
    "runs.chain",
    "runs.outcome",
    "runs.request_rows",
    "runs.submission",
    "wire.answers",
    "wire.codec",
    "wire.protojson",
    "wire.requests",
]


def order(name: str) -> tuple[int, str]:
    """The place of a name in a sorted `__all__`: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public functions and properties that a class itself defines."""
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value):
            yield name, value


def bare_fields(module: str) -> list[str]:
    """The fields of a module's public attrs classes that have no docstring below them."""
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                is_documented = (
                    isinstance(below, ast.Expr)
                    and isinstance(below.value, ast.Constant)
                    and isinstance(below.value.value, str)
                )
                if not is_documented and not field.target.id.startswith("_"):
                    found.append(f"{node.name}.{field.target.id}")
    return found


def test_all_is_sorted():
    """`__all__` has constants, classes and the rest, each sorted, and nothing twice."""
    for module in (fireworks_batch, fireworks_batch.typing):
        assert sorted({*module.__all__}, key=order) == module.__all__


def imports_for_checkers() -> list[ast.ImportFrom]:
    """The imports of the package's `if TYPE_CHECKING:`."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [
        node.body
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    assert all(isinstance(node, ast.ImportFrom) for node in block)
    return block


def test_public_import_paths():
    """What users write after `from` and `import` stays."""
    for module, names in PATHS.items():
        assert sorted(importlib.import_module(module).__all__, key=order) == names.split()


def test_the_tables_agree():
    """The map, the imports for type checkers and `__all__` have the same names and modules."""
    homes = {
        alias.name: node.module.removeprefix("fireworks_batch.")
        for node in imports_for_checkers()
        for alias in node.names
    }
    modules = [name for name, home in homes.items() if home == "fireworks_batch"]

    assert modules == [*fireworks_batch._MODULES]
    assert homes == fireworks_batch._HOMES | dict.fromkeys(modules, "fireworks_batch")
    assert [*fireworks_batch._HOMES] == fireworks_batch.__all__


def test_each_public_name_is_defined_in_the_module_of_the_map():
    """No name of the map is misspelt, and none has the map name a module that only imports it."""
    for name, home in fireworks_batch._HOMES.items():
        value = getattr(fireworks_batch, name)
        module = importlib.import_module(f"fireworks_batch.{home}")

        assert value is getattr(module, name)
        assert getattr(value, "__module__", module.__name__) == module.__name__


def test_misspelt_name_is_refused():
    """A name that is not public is refused as by any module, a private class's name too."""
    with pytest.raises(AttributeError, match="'fireworks_batch' has no attribute 'BatchClent'"):
        _ = fireworks_batch.BatchClent
    with pytest.raises(ImportError, match="cannot import name 'Codec'"):
        from fireworks_batch import Codec  # noqa: F401, PLC0415


def test_dir_shows_the_public_names_alone():
    """`dir()`, and completion in a shell, list what `__all__` names."""
    assert sorted(fireworks_batch.__all__) == dir(fireworks_batch)


@pytest.mark.parametrize("module", ["emulator", "pytest_plugin", "typing"])
def test_public_modules_are_attributes(module):
    """`import fireworks_batch` is enough to use a public module."""
    program = f"import fireworks_batch; print(fireworks_batch.{module}.__name__)"
    command = [sys.executable, "-I", "-c", program]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)

    assert ended.stdout.strip() == f"fireworks_batch.{module}"


def test_star_import_gives_all():
    """`from fireworks_batch import *` gives what `__all__` names."""
    program = "before = {*globals()}; from fireworks_batch import *; print(*{*globals()} - before)"
    command = [sys.executable, "-I", "-c", program]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)

    assert {*fireworks_batch.__all__} == {*ended.stdout.split()} - {"before"}


def test_every_error_has_the_one_base():
    """One `except` catches whatever this library raises: each exception class is of its tree."""
    for module in pkgutil.walk_packages(fireworks_batch.__path__, "fireworks_batch."):
        if not module.name.startswith(
            (
                "fireworks_batch.airflow.",  # needs Airflow, and raises what that has
                "fireworks_batch.cli",
                "fireworks_batch.emulator",
                "fireworks_batch.integrations.",  # each needs an extra
                "fireworks_batch.pytest_plugin",
            )
        ):
            importlib.import_module(module.name)
    raised = {
        name: value
        for module in [m for n, m in sys.modules.items() if n.startswith("fireworks_batch.")]
        if not module.__name__.startswith(("fireworks_batch.emulator", "fireworks_batch.cli"))
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__.startswith("fireworks_batch.")
    }

    assert {*raised} <= {*EXPORTED}
    assert all(issubclass(value, FireworksBatchError) for value in raised.values())
    assert all(EXPORTED[name].__name__.endswith("Error") for name in raised)


@pytest.mark.parametrize("name", [*CLASSES, *SHAPES, "chat", "chats", "to_dict"])
def test_exported_name_has_a_docstring(name):
    """Each exported class and function says what it is, in a text of its own."""
    value = EXPORTED[name]

    assert value.__doc__
    assert value.__doc__.strip()
    assert value.__doc__ != getattr(value, "__base__", object).__doc__


@pytest.mark.parametrize("name", CLASSES)
def test_public_members_have_docstrings(name):
    """Each public method and property of an exported class says what it does or is."""
    assert [member for member, value in members(CLASSES[name]) if not value.__doc__] == []


@pytest.mark.parametrize("module", PURE)
def test_every_field_has_a_docstring_below_it(module):
    """Each field of a public attrs class is explained where it is declared."""
    assert bare_fields(module) == []


def test_fields_are_really_looked_at():
    """The search for bare fields sees the models: their fields are written one below the other."""
    source = (PACKAGE / "models" / "job.py").read_text(encoding="utf-8")
    declared = [
        node.target.id
        for cls in ast.parse(source).body
        if isinstance(cls, ast.ClassDef) and cls.name == "BatchInferenceJob"
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
    ]

    assert [field.name for field in attrs.fields(fireworks_batch.BatchInferenceJob)] == declared


@pytest.mark.parametrize("name", HANDLES)
def test_handle_shows_what_is_promised_and_nothing_else(name):
    """A handle has no public name beside the promised ones, and no parameters in its signature."""
    handle = CLASSES[name]
    # The annotations name the attributes that only an instance has.
    shown = {*dir(handle), *inspect.get_annotations(handle)}

    assert sorted(one for one in shown if not one.startswith("_")) == HANDLES[name].split()
    assert not inspect.signature(handle).parameters


def test_every_handle_is_in_the_table():
    """Each class of `fireworks_batch.typing` is a handle."""
    assert [*HANDLES] == [name for name in fireworks_batch.typing.__all__ if name in CLASSES]


@pytest.mark.parametrize("name", CLASSES)
def test_exported_class_knows_its_module(name):
    """An exported class is defined in a module of the package, under its own name."""
    cls = CLASSES[name]

    assert cls.__module__.startswith("fireworks_batch.")
    assert cls.__qualname__ == name


@pytest.mark.parametrize("module", [*PURE, "models.errors"])
def test_pure_modules_say_so(module):
    """The modules of the lower floors say that they perform no I/O, and sort their `__all__`."""
    loaded = importlib.import_module(f"fireworks_batch.{module}")

    assert "erforms no I/O" in loaded.__doc__
    assert sorted(loaded.__all__, key=order) == loaded.__all__
    assert all(hasattr(loaded, name) for name in loaded.__all__)
