"""Clients generated from the OpenAPI document, the configuration of their generators, and an example of each."""
