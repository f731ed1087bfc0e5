"""Outputs: the durable spool, delivery to notification channels, ClickHouse and files."""
