"""The DAG of the gate: tasks that come to all ends, and some that a user ends."""

import os
from pathlib import Path

from airflow.sdk import DAG, task

from fireworks_batch import PollPolicy
from fireworks_batch.airflow.operators.batch import FireworksBatchOperator
from fireworks_batch.airflow.sensors.job import FireworksBatchJobSensor

FILES = Path(os.environ["FIREWORKS_TEST_FILES"])
MODEL = "accounts/fireworks/models/demo-8b"
FAST = PollPolicy(initial_interval=0.5, max_interval=2.0, min_interval=0.1)


def rows(of: str) -> list[dict[str, object]]:
    """Return three requests that no other task has."""
    return [
        {
            "custom_id": f"{of}-{number}",
            "body": {"messages": [{"role": "user", "content": f"{of} {number}"}]},
        }
        for number in range(3)
    ]


def operator(task_id: str, **arguments: object) -> FireworksBatchOperator:
    """Return a task of three requests, whose jobs have the task's name."""
    return FireworksBatchOperator(
        task_id=task_id,
        requests=rows(task_id),
        model=MODEL,
        name=f"{task_id}-{{{{ run_id }}}}",
        output_path=str(FILES / f"{task_id}.jsonl"),
        poll=FAST,
        deferrable=True,
        **arguments,
    )


with DAG("gate", schedule=None):
    mapped = FireworksBatchOperator.partial(
        task_id="mapped",
        model=MODEL,
        poll=FAST,
        deferrable=True,
        map_index_template="{{ ti.map_index }}",
    ).expand_kwargs(
        [
            {"requests": rows(f"m{number}"), "output_path": str(FILES / f"mapped-{number}.jsonl")}
            for number in range(int(os.environ["FIREWORKS_TEST_TASKS"]))
        ]
    )

    @task
    def count(manifests: list[dict[str, int]]) -> int:
        """Add the rows of the manifests up."""
        return sum(each["succeeded"] for each in manifests)

    count(mapped.output)
    operator("fails")
    operator("expires")
    operator("expires-again", retry_rows=1)
    operator("cleared", cancel_on_kill=True)
    operator("killed", cancel_on_kill=True)
    FireworksBatchJobSensor(task_id="senses", job="elsewhere", poll=FAST, deferrable=True)
