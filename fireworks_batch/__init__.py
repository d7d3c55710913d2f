"""Async client for Fireworks AI batch inference: from requests to results, once, to the end."""

from fireworks_batch.batch_result import BatchResult
from fireworks_batch.client import BatchClient
from fireworks_batch.dataset_model import Dataset, DatasetLike
from fireworks_batch.datasets import Datasets
from fireworks_batch.errors import (
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
    ResultRowsError,
    ServerError,
    TransportError,
    UnknownStateError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.fleet import JobEndings, JobFleet
from fireworks_batch.fleet_progress import FleetProgress, JobEnding
from fireworks_batch.input_rows import RowProblem
from fireworks_batch.job_names import JobLike
from fireworks_batch.jobs import Jobs
from fireworks_batch.keys import ApiKey
from fireworks_batch.limits import Limits
from fireworks_batch.listing import Listing
from fireworks_batch.models import (
    BatchInferenceJob,
    InferenceParameters,
    JobProgress,
    Lifecycle,
    Placement,
    Status,
    to_dict,
)
from fireworks_batch.names import JobRef
from fireworks_batch.policies import JOB_WINDOW, PollPolicy, RetryPolicy
from fireworks_batch.progress import JobSnapshot
from fireworks_batch.request_source import Requests
from fireworks_batch.result_report import ResultsReport
from fireworks_batch.results import JobResults
from fireworks_batch.rows import ResultRow, RowError
from fireworks_batch.run_models import (
    CheckReport,
    JobPlan,
    JobReport,
    RunProgress,
    RunReport,
    RunStage,
)
from fireworks_batch.states import (
    DatasetFormat,
    DatasetState,
    EncryptionState,
    JobPhase,
    JobState,
    MultiRegion,
    Precision,
    StatusCode,
)
from fireworks_batch.submission import AdoptedJob, Submission, SubmittedJob
from fireworks_batch.version import __version__
from fireworks_batch.waiting import JobWait

__all__ = [
    "JOB_WINDOW",
    "APIStatusError",
    "AccountSuspendedError",
    "AdoptedJob",
    "ApiKey",
    "AuthenticationError",
    "BadRequestError",
    "BatchClient",
    "BatchInferenceJob",
    "BatchResult",
    "CheckReport",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "Dataset",
    "DatasetConflictError",
    "DatasetFormat",
    "DatasetLike",
    "DatasetState",
    "Datasets",
    "EncryptionState",
    "FireworksBatchError",
    "FleetProgress",
    "InferenceParameters",
    "InputRowsError",
    "JobCancelledError",
    "JobConflictError",
    "JobEnding",
    "JobEndings",
    "JobExpiredError",
    "JobFailedError",
    "JobFleet",
    "JobGoneError",
    "JobLike",
    "JobNotFinishedError",
    "JobOutcomeError",
    "JobPhase",
    "JobPlan",
    "JobProgress",
    "JobRef",
    "JobReport",
    "JobResults",
    "JobSnapshot",
    "JobStalledError",
    "JobState",
    "JobStoppedError",
    "JobWait",
    "Jobs",
    "Lifecycle",
    "Limits",
    "Listing",
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
    "Requests",
    "ResponseDecodeError",
    "ResultRow",
    "ResultRowsError",
    "ResultsReport",
    "RetryPolicy",
    "RowError",
    "RowProblem",
    "RunProgress",
    "RunReport",
    "RunStage",
    "ServerError",
    "Status",
    "StatusCode",
    "Submission",
    "SubmittedJob",
    "TransportError",
    "UnknownStateError",
    "WaitError",
    "WaitTimeoutError",
    "__version__",
    "to_dict",
]
