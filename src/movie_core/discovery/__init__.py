"""Ratings and what follows from them: recommendations, personal ranking, events, trends and analytics."""
