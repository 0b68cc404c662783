"""Reads a Dockerfile, and runs what a stage of it does, without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction: `Instruction("RUN", "make install")`."""

    name: str
    arguments: str


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """The instructions of each stage, each list beginning with its FROM."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found: list[list[Instruction]] = []
    for name, _, arguments in (line.partition(" ") for line in lines if line.strip()):
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, arguments.strip()))
    return found


def arguments(stage: list[Instruction], name: str) -> list[str]:
    """What follows each instruction of that name."""
    return [instruction.arguments for instruction in stage if instruction.name == name]


def build(stage: list[Instruction], context: Path, root: Path, search: Path) -> None:
    """Do what the COPY and RUN instructions of a stage say, with `root` for the image's root.

    `search` comes first in the PATH. What other stages have made is taken from the same root.
    Raises AssertionError when a command fails, OSError when something to copy is not in the context.
    """
    (directory,) = arguments(stage, "WORKDIR")
    workdir = root / directory.lstrip("/")
    workdir.mkdir(parents=True, exist_ok=True)
    for name, rest in stage:
        if name == "COPY":
            *sources, destination = rest.split()
            if sources[0].startswith("--from="):
                _copy([root / source.lstrip("/") for source in sources[1:]], workdir / destination)
            else:
                _copy([context / source for source in sources], workdir / destination)
        elif name == "RUN" and not rest.startswith("apt-get"):  # the packages of this machine are taken as they are
            command = rest.replace("/opt/", f"{root}/opt/")
            environment = {**os.environ, "PATH": f"{search}:{os.environ['PATH']}"}
            done = subprocess.run(
                ["sh", "-euc", command], cwd=workdir, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _copy(sources: list[Path], destination: Path) -> None:
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, destination)
