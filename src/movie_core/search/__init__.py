"""Movies, the search service, and the rules of caching and retries."""
