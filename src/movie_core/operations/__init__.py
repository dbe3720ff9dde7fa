"""Running the service: health, rate limits, maintenance, administration and the audit log."""
