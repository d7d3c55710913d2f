"""One job for each list of requests that an earlier task returns: dynamic task mapping."""

from airflow.sdk import DAG, Param, task

from fireworks_batch.airflow.operators.batch import FireworksBatchOperator

with DAG("one_job_each", schedule=None, params={"directory": Param("results")}) as dag:

    @task
    def questions() -> list[list[dict[str, object]]]:
        """Return two lists of requests. Put long lists into files instead."""
        return [
            [
                {
                    "custom_id": f"{city}-{topic}",
                    "body": {"messages": [{"role": "user", "content": f"{topic} of {city}?"}]},
                }
                for topic in ("population", "area")
            ]
            for city in ("Lima", "Oslo")
        ]

    FireworksBatchOperator.partial(
        task_id="ask",
        model="accounts/fireworks/models/demo-8b",
        output_path="{{ params.directory }}/{{ ti.map_index }}.jsonl",
        deferrable=True,
    ).expand(requests=questions())

if __name__ == "__main__":
    dag.test()
