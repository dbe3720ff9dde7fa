"""The HTTP server: its protocol class, limits of connections, and processes."""
