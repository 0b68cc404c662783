"""Looks for known vulnerabilities in the pinned requirements of a file: 0 none, 1 some, 3 when there is no data.

pip-audit itself ends with 0 when it could look up none of the packages.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

OK, VULNERABLE, NO_DATA = 0, 1, 3


def main(requirements: str) -> int:
    """Run pip-audit and print what it found, package by package; return the exit code."""
    program = Path(sys.executable).with_name("pip-audit")
    options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--timeout=30", "--format=json"]
    done = subprocess.run([program, *options, "-r", requirements], capture_output=True, text=True, check=False)
    lines, code = judged(done.stdout, done.stderr)
    print("\n".join(lines))
    return code


def judged(report: str, errors: str) -> tuple[list[str], int]:
    """Return what pip-audit's report in JSON means, in lines, and the exit code."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, LookupError, TypeError):
        reason = (errors.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        return [f"the vulnerability data is unavailable: {reason}"], NO_DATA
    audited = [each for each in packages if "skip_reason" not in each]
    found = list(_vulnerabilities(audited))
    lines = found or ([f"no known vulnerability in {len(audited)} packages"] if audited else [])
    if len(audited) < len(packages):
        missing = len(packages) - len(audited)
        return [*lines, f"the vulnerability data is unavailable for {missing} of {len(packages)} packages"], NO_DATA
    return lines, VULNERABLE if found else OK


def _vulnerabilities(packages: Iterable[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for each in package["vulns"]:
            mended = ", ".join(each["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {each['id']}, fixed in {mended}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
