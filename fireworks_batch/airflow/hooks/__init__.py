"""How Airflow connects to the API."""
