"""Batch jobs in Apache Airflow: hook, operator, sensor and trigger of the provider.

Needs the extra ``airflow``. Nothing outside this room imports it, and it imports the public API
only.
"""
