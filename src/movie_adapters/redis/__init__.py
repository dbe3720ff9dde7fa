"""Stores in Redis or Valkey: cached answers, rate limits, trends and the task queue."""
