"""Movie sources over HTTP, and what makes them fast and reliable: retries, a circuit breaker and a cache."""
