"""Email: the syntax of addresses, the texts of messages, and delivery by SMTP or into files."""
