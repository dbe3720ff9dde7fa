"""A stand-in for the third-party movie source, with fault injection."""
