"""The provider's metadata for Airflow. Every component reads it, so it imports nothing heavy."""

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's provider schema."""
    room = "fireworks_batch.airflow"
    integration = "Fireworks AI batch inference"
    return {
        "package-name": "fireworks-batch",
        "name": "Fireworks AI batch inference",
        "description": "Batch inference jobs of Fireworks AI: submitted once, waited for by one "
        "poller for all deferred tasks.",
        "hooks": [{"integration-name": integration, "python-modules": [f"{room}.hooks.batch"]}],
        "operators": [
            {"integration-name": integration, "python-modules": [f"{room}.operators.batch"]}
        ],
        "sensors": [{"integration-name": integration, "python-modules": [f"{room}.sensors.job"]}],
        "triggers": [{"integration-name": integration, "python-modules": [f"{room}.triggers.job"]}],
        "extra-links": [f"{room}.operators.link.FireworksBatchJobLink"],
        "connection-types": [
            {
                "hook-class-name": f"{room}.hooks.batch.FireworksBatchHook",
                "hook-name": "Fireworks AI",
                "connection-type": "fireworks",
                "conn-fields": {
                    "account_id": {
                        "label": "Account id",
                        "schema": {"type": ["string", "null"]},
                        "description": "The id of the account. If empty, FIREWORKS_ACCOUNT_ID is "
                        "used, or else the only account of the key.",
                    },
                    "max_requests_per_minute": {
                        "label": "Requests a minute",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                        "description": "Most requests a minute of each process. If empty, there is "
                        "no limit.",
                    },
                    "proxy": {
                        "label": "Proxy",
                        "schema": {"type": ["string", "null"]},
                        "description": "The URL of an HTTP proxy. If empty, the proxy of the "
                        "environment is used.",
                    },
                    "allow_insecure_http": {
                        "label": "Allow http",
                        "schema": {"type": ["boolean", "null"], "default": False},
                        "description": "Accept an http:// base URL on another machine. Then the "
                        "API key can be read on the network.",
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "login"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {"host": "https://api.fireworks.ai"},
                },
            }
        ],
    }
