"""A stand-in for an OpenID provider: a token endpoint for client credentials, signed tokens, and the keys to them."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from tests.support.kafka import SHORT_LIVED, Broker
from tests.support.missing import program
from tests.support.process import free_port

CLIENT, SECRET, SCOPE = "sidecar", "sesame", "kafka.read"
AUDIENCE = "kafka"


class OidcProvider:
    """Gives tokens (RS256) to CLIENT with `secret` that live for `seconds`; `audience` is whom they are for."""

    def __init__(self, directory: Path, seconds: int = 3600) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.seconds, self.audience = seconds, AUDIENCE
        self.secret = SECRET
        self.given: list[str] = []  # the scope of each token
        self._openssl, self._key = program("openssl", "openssl"), directory / "provider.key"
        self._run("genrsa", "-out", str(self._key), "2048")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def properties(self, secret: str = SECRET) -> dict[str, str]:
        """What a client gets its tokens by."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": CLIENT,
            "sasl.oauthbearer.client.secret": secret,
            "sasl.oauthbearer.scope": SCOPE,
            "sasl.oauthbearer.token.endpoint.url": f"{self.url}/token",
        }

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """The answer to a request for a token."""
        expected = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client", "error_description": "the client is not known"}
        self.given.append(form.get("scope", [""])[0])
        return 200, {"access_token": self._token(), "token_type": "Bearer", "expires_in": self.seconds}

    def keys(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        modulus = self._run("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        return {"keys": [{"kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig", "e": "AQAB",
                          "n": _text(bytes.fromhex(modulus))}]}  # fmt: skip

    def _token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.audience, "sub": CLIENT, "iat": now, "exp": now + self.seconds}
        parts = ({"alg": "RS256", "kid": "one", "typ": "JWT"}, claims | {"scope": SCOPE, "jti": str(len(self.given))})
        signed = ".".join(_text(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_text(self._run('dgst', '-sha256', '-sign', str(self._key), given=signed.encode()))}"

    def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run([self._openssl, *arguments], input=given, check=True, capture_output=True, timeout=20)
        return done.stdout


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _handler(provider: OidcProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._send(*provider.answer(self.headers.get("Authorization", ""), form))

        def do_GET(self) -> None:
            self._send(200, provider.keys())

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


class TokenBroker(Broker):
    """A broker that lets in, at `tokens`, holders of a token of a provider, and ends connections with the token."""

    def __init__(self, directory: Path, provider: OidcProvider) -> None:
        keys = f"{provider.url}/keys"
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"
        super().__init__(directory, options=[*SHORT_LIVED, allowed])
        self.tokens = f"127.0.0.1:{free_port()}"
        package = "org.apache.kafka.common.security.oauthbearer"
        for key in ("listeners", "advertised.listeners"):
            self._properties[key] += f",TOKENS://{self.tokens}"
        self._properties["listener.security.protocol.map"] += ",TOKENS:SASL_PLAINTEXT"
        own = "listener.name.tokens."
        self._properties |= {
            "inter.broker.listener.name": "PLAINTEXT",
            "connections.max.reauth.ms": "3600000",
            "sasl.oauthbearer.jwks.endpoint.url": keys,
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": provider.url,
            f"{own}sasl.enabled.mechanisms": "OAUTHBEARER",
            f"{own}oauthbearer.sasl.jaas.config": f"{package}.OAuthBearerLoginModule required;",
            f"{own}oauthbearer.sasl.server.callback.handler.class": f"{package}.OAuthBearerValidatorCallbackHandler",
        }
