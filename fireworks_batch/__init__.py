"""Async client for Fireworks AI batch inference: from requests to results, without paying twice.

This module is the table of contents. A public name is imported when it is first used, so that
``import fireworks_batch`` takes little time. A new name is added in three places: to the imports
for type checkers, to ``_HOMES`` and to ``__all__``. A test compares the three.
"""

# Type checkers know this name, and take it for True. An import from typing would cost time.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from fireworks_batch import emulator as emulator
    from fireworks_batch import integrations as integrations
    from fireworks_batch import pytest_plugin as pytest_plugin
    from fireworks_batch import typing as typing
    from fireworks_batch.client import BatchClient
    from fireworks_batch.models.dataset import (
        Dataset,
        Limits,
    )
    from fireworks_batch.models.errors import (
        AccountSuspendedError,
        APIStatusError,
        AuthenticationError,
        BadRequestError,
        ClientStateError,
        ConfigurationError,
        ConflictError,
        DatasetConflictError,
        FireworksBatchError,
        InputRowsError,
        JobCancelledError,
        JobConflictError,
        JobExpiredError,
        JobFailedError,
        JobGoneError,
        JobNotFinishedError,
        JobOutcomeError,
        JobStalledError,
        JobStoppedError,
        LocalFileError,
        NotFoundError,
        PermissionDeniedError,
        PollFailureError,
        RateLimitError,
        RequestTimeoutError,
        ResponseDecodeError,
        RowProblem,
        ServerError,
        TransportError,
        UnknownStateError,
        WaitError,
        WaitTimeoutError,
    )
    from fireworks_batch.models.job import (
        BatchInferenceJob,
        InferenceParameters,
        JobProgress,
        Lifecycle,
        Placement,
        Status,
        to_dict,
    )
    from fireworks_batch.models.names import JobRef
    from fireworks_batch.models.policies import (
        JOB_TIME_LIMIT,
        PollPolicy,
        RetryPolicy,
    )
    from fireworks_batch.models.snapshot import (
        FleetProgress,
        JobOutcome,
        JobSnapshot,
    )
    from fireworks_batch.models.states import (
        DatasetFormat,
        DatasetState,
        EncryptionState,
        JobPhase,
        JobState,
        MultiRegion,
        Precision,
        StatusCode,
    )
    from fireworks_batch.results.report import (
        AdoptedJob,
        JobReport,
        ResultRowsError,
        ResultsReport,
        RunReport,
    )
    from fireworks_batch.results.rows import (
        ResultRow,
        RowError,
    )
    from fireworks_batch.runs.chat import (
        chat,
        chats,
    )
    from fireworks_batch.runs.contents import RowContents
    from fireworks_batch.runs.progress import (
        CheckReport,
        JobPlan,
        RunProgress,
        RunStage,
    )
    from fireworks_batch.runs.submission import (
        Submission,
        SubmittedShard,
    )
    from fireworks_batch.version import __version__

__all__ = [
    "JOB_TIME_LIMIT",
    "APIStatusError",
    "AccountSuspendedError",
    "AdoptedJob",
    "AuthenticationError",
    "BadRequestError",
    "BatchClient",
    "BatchInferenceJob",
    "CheckReport",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "Dataset",
    "DatasetConflictError",
    "DatasetFormat",
    "DatasetState",
    "EncryptionState",
    "FireworksBatchError",
    "FleetProgress",
    "InferenceParameters",
    "InputRowsError",
    "JobCancelledError",
    "JobConflictError",
    "JobExpiredError",
    "JobFailedError",
    "JobGoneError",
    "JobNotFinishedError",
    "JobOutcome",
    "JobOutcomeError",
    "JobPhase",
    "JobPlan",
    "JobProgress",
    "JobRef",
    "JobReport",
    "JobSnapshot",
    "JobStalledError",
    "JobState",
    "JobStoppedError",
    "Lifecycle",
    "Limits",
    "LocalFileError",
    "MultiRegion",
    "NotFoundError",
    "PermissionDeniedError",
    "Placement",
    "PollFailureError",
    "PollPolicy",
    "Precision",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "ResultRow",
    "ResultRowsError",
    "ResultsReport",
    "RetryPolicy",
    "RowContents",
    "RowError",
    "RowProblem",
    "RunProgress",
    "RunReport",
    "RunStage",
    "ServerError",
    "Status",
    "StatusCode",
    "Submission",
    "SubmittedShard",
    "TransportError",
    "UnknownStateError",
    "WaitError",
    "WaitTimeoutError",
    "__version__",
    "chat",
    "chats",
    "to_dict",
]

# The module of each public name.
_HOMES = {
    "JOB_TIME_LIMIT": "models.policies",
    "APIStatusError": "models.errors",
    "AccountSuspendedError": "models.errors",
    "AdoptedJob": "results.report",
    "AuthenticationError": "models.errors",
    "BadRequestError": "models.errors",
    "BatchClient": "client",
    "BatchInferenceJob": "models.job",
    "CheckReport": "runs.progress",
    "ClientStateError": "models.errors",
    "ConfigurationError": "models.errors",
    "ConflictError": "models.errors",
    "Dataset": "models.dataset",
    "DatasetConflictError": "models.errors",
    "DatasetFormat": "models.states",
    "DatasetState": "models.states",
    "EncryptionState": "models.states",
    "FireworksBatchError": "models.errors",
    "FleetProgress": "models.snapshot",
    "InferenceParameters": "models.job",
    "InputRowsError": "models.errors",
    "JobCancelledError": "models.errors",
    "JobConflictError": "models.errors",
    "JobExpiredError": "models.errors",
    "JobFailedError": "models.errors",
    "JobGoneError": "models.errors",
    "JobNotFinishedError": "models.errors",
    "JobOutcome": "models.snapshot",
    "JobOutcomeError": "models.errors",
    "JobPhase": "models.states",
    "JobPlan": "runs.progress",
    "JobProgress": "models.job",
    "JobRef": "models.names",
    "JobReport": "results.report",
    "JobSnapshot": "models.snapshot",
    "JobStalledError": "models.errors",
    "JobState": "models.states",
    "JobStoppedError": "models.errors",
    "Lifecycle": "models.job",
    "Limits": "models.dataset",
    "LocalFileError": "models.errors",
    "MultiRegion": "models.states",
    "NotFoundError": "models.errors",
    "PermissionDeniedError": "models.errors",
    "Placement": "models.job",
    "PollFailureError": "models.errors",
    "PollPolicy": "models.policies",
    "Precision": "models.states",
    "RateLimitError": "models.errors",
    "RequestTimeoutError": "models.errors",
    "ResponseDecodeError": "models.errors",
    "ResultRow": "results.rows",
    "ResultRowsError": "results.report",
    "ResultsReport": "results.report",
    "RetryPolicy": "models.policies",
    "RowContents": "runs.contents",
    "RowError": "results.rows",
    "RowProblem": "models.errors",
    "RunProgress": "runs.progress",
    "RunReport": "results.report",
    "RunStage": "runs.progress",
    "ServerError": "models.errors",
    "Status": "models.job",
    "StatusCode": "models.states",
    "Submission": "runs.submission",
    "SubmittedShard": "runs.submission",
    "TransportError": "models.errors",
    "UnknownStateError": "models.errors",
    "WaitError": "models.errors",
    "WaitTimeoutError": "models.errors",
    "__version__": "version",
    "chat": "runs.chat",
    "chats": "runs.chat",
    "to_dict": "models.job",
}

# Public modules that are imported when they are first used.
_MODULES = ("emulator", "integrations", "pytest_plugin", "typing")

if not TYPE_CHECKING:  # type checkers do not see this, and so refuse a misspelt name
    from importlib import import_module

    def __getattr__(name: str) -> object:
        """Import a public name, or a public module, and keep it."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """List only the public names."""
        return __all__
