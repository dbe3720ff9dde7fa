"""Password hashes, access tokens, and checks of passwords and usernames."""
