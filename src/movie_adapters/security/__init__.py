"""Password hashing, access tokens, password strength and username syntax."""
