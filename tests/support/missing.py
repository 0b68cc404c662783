"""What a test does when one of the real parts cannot be had."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(part: str, why: str) -> NoReturn:
    """Skip the test and name the part; where CI is set, fail: there nothing may go untested."""
    reason = f"{part} cannot be had: {why}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """The path of a program that a Debian package brings."""
    return shutil.which(name) or missing(name, f"`make parts` did not install the Debian package {package}")
