"""The link from a task to the page of its job."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from fireworks_batch import JobRef

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

__all__ = ["FireworksBatchJobLink"]


class FireworksBatchJobLink(BaseOperatorLink):
    """The button "Fireworks job" of a task. It leads to the first job of the task."""

    name = "Fireworks job"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:  # noqa: ARG002 - Airflow's signature
        """Return the address of the job's page; an empty text while there is no job."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""

    def push(self, context: "Context", ref: JobRef) -> None:
        """Store the link for a job. Airflow shows it from now on, also while the task is deferred.

        The link leads to the vendor's web application. Its address is not documented.

        Args:
            context: The context of the task, given by Airflow.
            ref: The job.
        """
        url = f"https://app.fireworks.ai/dashboard/batch-inference/{ref.job_id}"
        context["ti"].xcom_push(key=self.xcom_key, value=url)
