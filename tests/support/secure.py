"""A broker that asks who comes, by TLS, passwords and certificates, and the certificates, made up for a test."""

import subprocess
from pathlib import Path
from typing import NamedTuple, Self

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.support.cluster import ANSWER_SECONDS
from tests.support.kafka import Broker
from tests.support.missing import program
from tests.support.process import free_port

HOST = "IP:127.0.0.1"
USAGE = "keyUsage=critical,keyCertSign,cRLSign"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
MECHANISM = "SCRAM-SHA-512"


class Certified(NamedTuple):
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def in_one_file(self) -> Path:
        """Key and certificate together, as Kafka wants them in a key store."""
        file = self.certificate.with_suffix(".both.pem")
        file.write_text(self.key.read_text() + self.certificate.read_text())
        return file

    def properties(self, passphrase: str = "") -> dict[str, str]:
        """What a client shows them by."""
        shown = {"ssl.certificate.location": str(self.certificate), "ssl.key.location": str(self.key)}
        return shown | ({"ssl.key.password": passphrase} if passphrase else {})


class Authority:
    """Signs certificates that are valid for a day; `certificate` is its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._openssl = program("openssl", "openssl")
        self.certificate, self._key = directory / "authority.pem", directory / "authority.key"
        names = ["-subj", "/CN=authority", "-keyout", str(self._key), "-out", str(self.certificate)]
        # Python 3.13 verifies strictly, as RFC 5280 has it.
        self._run("req", "-x509", *NEW_KEY, "-nodes", "-days", "1", "-addext", USAGE, *names)

    def issue(self, name: str, host: str = HOST, days: int = 1, passphrase: str = "") -> Certified:
        """Certify a name for a host (as a subjectAltName); what is valid for 0 days has expired when it is made."""
        made = Certified(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request = str(self._directory / f"{name}.csr")
        protection = ["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={host}", "-keyout", str(made.key), "-out", request]
        self._run("req", "-new", *NEW_KEY, *protection, *names)
        signer = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-days", str(days)]
        copied = ["-copy_extensions", "copyall", "-out", str(made.certificate)]
        self._run("x509", "-req", "-in", request, *signer, *copied)
        return made

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True, timeout=20)


class SecureBroker(Broker):
    """A broker with more ways in, all with TLS and a certificate of their own; `at` has their addresses.

    `passwords`, `renamed` and `expired` ask for a password, and what the last two show is for another host, and too
    old. `certificates` asks for a certificate that the authority has signed.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.password = "sesame"
        self.authority = Authority(directory / "certificates")
        self._properties["inter.broker.listener.name"] = "PLAINTEXT"
        self.at = {
            "passwords": self._listen("passwords", self.authority.issue("passwords")),
            "renamed": self._listen("renamed", self.authority.issue("renamed", host="DNS:elsewhere.example")),
            "expired": self._listen("expired", self.authority.issue("expired", days=0)),
            "certificates": self._listen("certificates", self.authority.issue("certificates"), asks_for_password=False),
        }

    def start(self) -> Self:
        """See Part."""
        super().start()
        self.let_in("sidecar", self.password)
        return self

    def rotate(self, password: str) -> None:
        """Let the sidecar in by another password from now on, and not by the old one."""
        self.password = password
        self.let_in("sidecar", password)

    def let_in(self, user: str, password: str) -> None:
        """Let a user in by this password, and no other."""
        admin = AdminClient(self._client())  # kept: its answers die with it
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        credential = UserScramCredentialUpsertion(user, scram, password.encode())
        for made in admin.alter_user_scram_credentials([credential]).values():
            made.result(ANSWER_SECONDS)

    def trust(self, authority: Authority) -> None:
        """From the next start on: show a certificate of another authority at `certificates`, and let in its clients."""
        shown, own = authority.issue("certificates"), "listener.name.certificates."
        self._properties[f"{own}ssl.keystore.location"] = str(shown.in_one_file())
        self._properties[f"{own}ssl.truststore.location"] = str(authority.certificate)

    def credentials(self, password: str, user: str = "sidecar") -> dict[str, str]:
        """What a client gets in by where there is a password."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": str(self.authority.certificate),
        }

    def _listen(self, name: str, shown: Certified, asks_for_password: bool = True) -> str:
        address, own = f"127.0.0.1:{free_port()}", f"listener.name.{name}."
        protocol = "SASL_SSL" if asks_for_password else "SSL"
        for key in ("listeners", "advertised.listeners"):
            self._properties[key] += f",{name.upper()}://{address}"
        self._properties["listener.security.protocol.map"] += f",{name.upper()}:{protocol}"
        self._properties |= {
            f"{own}ssl.keystore.type": "PEM",
            f"{own}ssl.keystore.location": str(shown.in_one_file()),
            f"{own}ssl.truststore.type": "PEM",
            f"{own}ssl.truststore.location": str(self.authority.certificate),
            f"{own}ssl.client.auth": "none" if asks_for_password else "required",
            f"{own}sasl.enabled.mechanisms": MECHANISM,
            f"{own}{MECHANISM.lower()}.sasl.jaas.config": LOGIN,
        }
        return address
