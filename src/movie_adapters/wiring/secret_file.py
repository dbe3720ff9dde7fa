"""The generated secret key of an installation without `MOVIE_SECRET_KEY`."""

import os
import secrets
from pathlib import Path

from movie_adapters.private_files import make_private_folder
from movie_adapters.settings.settings import SettingError


def load_or_create_secret(data_dir: Path) -> str:
    """Return the secret stored in the data directory; create it if it is missing.

    Processes that start at the same time get the same secret. Raises `SettingError` if the file cannot be read or
    created.
    """
    path = data_dir / "secret_key"
    try:
        make_private_folder(data_dir)
        if not path.exists():
            temporary = data_dir / f"secret_key.{secrets.token_hex(8)}"
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(temporary, path)  # atomic: the first process wins, the others read its secret
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingError("MOVIE_DATA_DIR", f"the secret key in it cannot be read or created: {reason}") from None
