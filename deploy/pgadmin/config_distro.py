"""Settings of pgAdmin. Its image generates this file at startup, which fails on a read-only root file system."""

LOG_FILE = "/dev/null"  # it logs to the console as well
HELP_PATH = "../../docs"
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
# No outgoing requests: no version check, and no Gravatar picture, which is fetched by the user's email address.
UPGRADE_CHECK_ENABLED = False
SHOW_GRAVATAR_IMAGE = False
