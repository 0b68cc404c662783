"""Completes the bill of materials of an environment, the CycloneDX file of the first argument, for the image around it.

Adds what the running image has beside the environment: the interpreter and Debian's packages. Prints the whole.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

FIELDS = "${Package} ${Version} ${Architecture}\\n"


def main(environment: str) -> None:
    """Print the bill of materials of the image."""
    bill = json.loads(Path(environment).read_text())
    bill["metadata"]["component"] = {"type": "container", "name": "marketdata-exporter", "bom-ref": "image"}
    bill["components"] += [_component("application", "python", platform.python_version(), "generic"), *_debian()]
    json.dump(bill, sys.stdout, indent=2)


def _debian() -> Iterator[dict[str, str]]:
    command = ["/usr/bin/dpkg-query", "--show", f"--showformat={FIELDS}"]
    release = f"debian-{platform.freedesktop_os_release()['VERSION_ID']}"
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        name, version, architecture = line.split()
        yield _component("library", name, version, "deb/debian", f"?arch={architecture}&distro={release}")


def _component(kind: str, name: str, version: str, place: str, qualifiers: str = "") -> dict[str, str]:
    url = f"pkg:{place}/{quote(name)}@{quote(version)}{qualifiers}"
    return {"type": kind, "name": name, "version": version, "purl": url, "bom-ref": url}


if __name__ == "__main__":
    main(sys.argv[1])
