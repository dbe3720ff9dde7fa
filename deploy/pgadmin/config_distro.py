"""pgAdmin's settings. Its image writes this file when it starts, which it can't where the root is read-only."""

LOG_FILE = "/dev/null"  # it also logs to the console
HELP_PATH = "../../docs"
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
# It would ask the world for versions, and for a picture by the address of whoever logged in.
UPGRADE_CHECK_ENABLED = False
SHOW_GRAVATAR_IMAGE = False
