"""The shortest honest script on the vendor's SDK: a file of requests to a file of results."""

import sys
import time
from pathlib import Path

import httpx
import orjson
from fireworks import Fireworks

MODEL = "accounts/fireworks/models/demo-8b"
ENDED = {
    "JOB_STATE_COMPLETED",
    "JOB_STATE_FAILED",
    "JOB_STATE_CANCELLED",
    "JOB_STATE_EXPIRED",
}


def main(base_url: str, api_key: str, requests: str, output: str) -> None:
    """Run the requests, and check that each one has an answer."""
    ids = ids_in(requests)
    with Fireworks(api_key=api_key, account_id="acme", base_url=base_url) as client:
        client.datasets.create(
            dataset_id="input", dataset={"format": "CHAT", "example_count": str(len(ids))}
        )
        with Path(requests).open("rb") as file:
            client.datasets.upload("input", file=file)
        job = client.batch_inference_jobs.create(
            batch_inference_job_id="job",
            model=MODEL,
            input_dataset_id="accounts/acme/datasets/input",
            output_dataset_id="accounts/acme/datasets/output",
        )
        while job.state not in ENDED:
            time.sleep(0.05)
            job = client.batch_inference_jobs.get("job")
        urls = client.datasets.get_download_endpoint("output").filename_to_signed_urls or {}
    with Path(output).open("wb") as file:
        for url in urls.values():
            with httpx.stream("GET", url) as answer:
                answer.raise_for_status()
                file.writelines(answer.iter_bytes())
    if ids_in(output) != ids:
        sys.exit(f"{job.state}: not each request has an answer")


def ids_in(path: str) -> set[str]:
    """Return the ids in a file of rows."""
    with Path(path).open("rb") as file:
        return {orjson.loads(line)["custom_id"] for line in file}


main(*sys.argv[1:])
