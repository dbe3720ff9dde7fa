"""Which adapter is used for which port, by the settings."""
