"""User accounts: registration, activation, passwords, sessions and outgoing email."""
