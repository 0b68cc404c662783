"""Builds the native core with the package, if Rust is there; without it the package is the one in Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = Path("exporter/core/_native.abi3.so")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the core into the package, so that one build serves all versions of Python from 3.11 on.

    A failure leaves the core out, with a line that states why; where CI is set it ends the build.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See BuildHookInterface."""
        root = Path(self.root)
        (root / MODULE).unlink(missing_ok=True)
        if problem := _build(root):
            message = f"the native core is not built, Python's is installed: {problem}"
            if os.environ.get("CI"):
                sys.exit(message)
            self.app.display_warning(message)
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(str(MODULE))


def _build(root: Path) -> str:
    """Compile the core and put it into the package; return why that failed, nothing if it did not."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return "cargo, which comes with Rust, was not found"
    target = root / ".cache" / "native"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "PYO3_PYTHON": sys.executable}
    command = [cargo, "build", "--release", "--quiet", "--features", "extension"]
    done = subprocess.run(command, cwd=root / "native", env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("error")), "cargo failed")
    shutil.copyfile(target / "release" / "lib_native.so", root / MODULE)
    return ""
