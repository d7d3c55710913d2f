"""Names for annotations: types of arguments, and classes whose objects only the client makes."""

from fireworks_batch.connection.api import Listing
from fireworks_batch.connection.credentials import ApiKey
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.jobs.fleet import JobFleet, JobOutcomes
from fireworks_batch.jobs.wait import JobWait
from fireworks_batch.models.dataset import DatasetLike
from fireworks_batch.models.job import JobLike
from fireworks_batch.results.decoding import Decode, Output
from fireworks_batch.results.job_results import JobResults
from fireworks_batch.runs.chat import ContentPart, Message
from fireworks_batch.runs.requests import Requests
from fireworks_batch.runs.result import BatchResult

__all__ = [
    "ApiKey",
    "BatchResult",
    "ContentPart",
    "DatasetLike",
    "Datasets",
    "Decode",
    "JobFleet",
    "JobLike",
    "JobOutcomes",
    "JobResults",
    "JobWait",
    "Jobs",
    "Listing",
    "Message",
    "Output",
    "Requests",
]
