"""Web configuration files with certificates and passwords, made up for a test."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from tests.support.secure import Authority, Certified

SCRAPER = "prometheus.example.com"
USER, PASSWORD = "prometheus", "sesame-opens"
COST = 4


@cache
def hashed(password: str = PASSWORD) -> str:
    """The bcrypt hash of a password, at the lowest cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


class WebFiles:
    """A folder with a certificate of a server, an authority of clients, and a web configuration file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.server = self.authority.issue("server", host="IP:127.0.0.1,DNS:localhost")
        self.scraper = self.authority.issue("scraper", host=f"DNS:{SCRAPER},IP:192.0.2.7,email:a@example.com,URI:urn:x")
        self.path = directory / "web.yml"

    def write(self, **sections: Any) -> Path:
        """Write the file with these sections, and return its path."""
        self.path.write_text(yaml.safe_dump(sections))
        return self.path

    def tls(self, **keys: Any) -> dict[str, Any]:
        """The section of a server with the certificate, and with these keys."""
        return {"cert_file": self.server.certificate.name, "key_file": self.server.key.name, **keys}

    def mutual(self, **keys: Any) -> dict[str, Any]:
        """The same, with verified clients."""
        required = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": self.authority.certificate.name}
        return self.tls(**{**required, **keys})


def users(**passwords: str) -> dict[str, str]:
    """The section of users; without arguments one."""
    return {name: hashed(password) for name, password in (passwords or {USER: PASSWORD}).items()}


def client_files(authority: Authority, certified: Certified | None) -> Mapping[str, Any]:
    """The arguments of a request that trusts an authority and shows a certificate."""
    shown = None if certified is None else (str(certified.certificate), str(certified.key))
    return {"verify": str(authority.certificate), "cert": shown}
