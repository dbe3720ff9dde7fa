"""Bytes and lines of movie files, plain or compressed with gzip or xz, read in bounded memory."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from movie_adapters.catalogue.cells import RowError
from movie_core.errors import InvalidParameter

MAX_LINE = 256 * 1024
"""Bytes of a line; a longer one is skipped without loading it into memory."""

_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"


class FileOpener:
    """Opens files and counts the bytes that are read from disk."""

    def __init__(self) -> None:
        self._bytes_of_closed_files = 0
        self._raw: io.FileIO | None = None

    @property
    def bytes_read(self) -> int:
        """Compressed bytes read since `reset`."""
        return self._bytes_of_closed_files + (0 if self._raw is None or self._raw.closed else self._raw.tell())

    def reset(self) -> None:
        self._bytes_of_closed_files = 0

    @contextmanager
    def open(self, path: Path) -> Iterator[BinaryIO]:
        """The uncompressed bytes of a file, without a byte order mark. Every failure raises `InvalidParameter`."""
        try:
            with io.FileIO(path) as raw:
                self._raw = raw
                buffered = io.BufferedReader(raw, 1 << 17)
                head = buffered.peek(16)[:16]
                is_gzip, is_xz = head.startswith(_GZIP), head.startswith(_XZ)
                for suffix, is_format, name in ((".gz", is_gzip, "gzipped"), (".xz", is_xz, "xz-compressed")):
                    if path.suffix.lower() == suffix and head and not is_format:
                        raise InvalidParameter(f"{path.name} is named as if {name}, but is not", field="FILE")
                stream = buffered
                if is_gzip or is_xz:
                    unpacked = gzip.open(buffered) if is_gzip else lzma.open(buffered)  # noqa: SIM115  # raw is closed
                    stream = io.BufferedReader(cast(io.FileIO, unpacked), 1 << 17)
                if stream.peek(3)[:3] == b"\xef\xbb\xbf":
                    stream.read(3)
                yield stream
                self._bytes_of_closed_files += raw.tell()
        except FileNotFoundError:
            raise InvalidParameter(f"{path} does not exist", field="FILE") from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise InvalidParameter(
                f"{path.name} is truncated or damaged: it can't be unpacked", field="FILE"
            ) from error
        except OSError as error:
            raise InvalidParameter(f"{path} can't be read: {error.strerror or error}", field="FILE") from error
        finally:
            self._raw = None


def read_lines(stream: BinaryIO) -> Iterator[str | RowError]:
    """Lines including their ends, without blank ones; an unusable line is returned as an error."""
    for raw in iter(partial(stream.readline, MAX_LINE), b""):
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield RowError("line_too_long", f"the line has more than {MAX_LINE} bytes")
            continue
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            yield RowError("bad_utf8", "the row is not UTF-8")
            continue
        if not line.isspace():
            yield line
