"""Adapters for Redis or Valkey: the shared cache, rate limits, trends and the task queue."""
