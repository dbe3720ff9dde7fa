"""A stand-in for the third party, with its faults."""
