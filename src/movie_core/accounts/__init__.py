"""Registration, activation, passwords, sessions and outgoing mail."""
