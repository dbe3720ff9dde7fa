"""Movies, searches for them, and the rules of caching and retrying."""
