"""The HTTP server: protocol, connection limits and processes."""
