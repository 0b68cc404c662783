"""A disk that can be full: some memory that is mounted as a folder."""

import errno
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

SIZE_MB = 768
BALLAST = bytes(1 << 20)


class SmallDisk:
    """A folder with room for little, as a context; `refusal` says why there is none, and the folder is a usual one."""

    def __init__(self, folder: Path, size_mb: int = SIZE_MB) -> None:
        self.refusal = ""
        self._size_mb = size_mb
        self.folder = folder
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        try:
            self._run("mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m", "tmpfs", str(self.folder))
        except (OSError, subprocess.CalledProcessError) as error:
            self.refusal = str(getattr(error, "stderr", "") or error).strip()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.refusal:
            self._run("umount", str(self.folder))

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(BALLAST)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Make room again."""
        with suppress(FileNotFoundError):
            self._ballast.unlink()

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, capture_output=True, text=True, check=True)
