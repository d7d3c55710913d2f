"""What Airflow asks a provider about itself; imports nothing, since every component asks."""

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
                        "description": "The account; if empty, FIREWORKS_ACCOUNT_ID, else the only "
                        "one that the key sees.",
                    },
                    "max_requests_per_minute": {
                        "label": "Requests a minute",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                        "description": "Most requests a minute of each process; no limit if empty.",
                    },
                    "proxy": {
                        "label": "Proxy",
                        "schema": {"type": ["string", "null"]},
                        "description": "The URL of an HTTP proxy; that of the environment if "
                        "empty.",
                    },
                    "allow_insecure_http": {
                        "label": "Allow http",
                        "schema": {"type": ["boolean", "null"], "default": False},
                        "description": "Accept a base URL of http on another machine, which shows "
                        "the key to everybody on the way.",
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
