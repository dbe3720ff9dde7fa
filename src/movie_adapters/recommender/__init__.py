"""Recommendations by the EASE model."""
