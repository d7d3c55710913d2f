"""Batch jobs in Apache Airflow: hook, operator, sensor and trigger of the provider.

Needs the extra ``airflow``. No other part of the package imports it, and it imports the public API
only.
"""
