"""Dependency injection: selects the adapter for each port from the settings."""
