"""A file of requests each night, in one task that takes no worker while its job runs."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, task

from fireworks_batch.airflow.operators.batch import FireworksBatchOperator

with DAG(
    "nightly_reviews",
    schedule="@daily",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    params={
        "requests": Param("requests.jsonl", description="a file of requests, local or s3://…"),
        "results": Param("results.jsonl", description="the file for the results"),
    },
) as dag:
    classify = FireworksBatchOperator(
        task_id="classify",
        requests="{{ params.requests }}",
        model="accounts/fireworks/models/demo-8b",
        inference_parameters={"max_tokens": 64},
        output_path="{{ params.results }}",
        retry_rows=2,
        max_failed_rows=10,
        deferrable=True,
    )

    @task
    def report(manifest: Any) -> str:
        """Use the manifest. It is small: the rows are in the file that it names."""
        return f"{manifest['succeeded']} of {manifest['rows']} rows, in {manifest['output']}"

    report(classify.output)

if __name__ == "__main__":
    dag.test()
