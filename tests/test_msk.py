"""Amazon MSK by AWS IAM: tokens of Amazon's library, and a sidecar whose tokens a real broker validates."""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from exporter.config.schema import Config, KafkaConfig
from exporter.kafka import clients
from exporter.kafka.connection_errors import diagnose, parse_fault
from exporter.kafka.msk import MskTokens, login, tokens
from exporter.kafka.properties import mistakes
from exporter.kafka.reader import reader_properties
from tests.support.kafka import running
from tests.support.msk import PROPERTIES, REGION, SignerFolder
from tests.support.oidc import OidcProvider, TokenBroker
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI-K7MDENG"
READY_SECONDS = 40.0


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Variables of AWS: no credentials anywhere, and nothing is asked for them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return monkeypatch


def signed(token: str) -> dict[str, str]:
    """The host and the parameters of the URL that a token is."""
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    return {"host": url.netloc} | {name: values[0] for name, values in parse_qs(url.query).items()}


def config(**kafka: object) -> Config:
    return Config(kafka=KafkaConfig(**{"msk_iam_region": REGION, **kafka}))  # type: ignore[arg-type]


def found(**kafka: object) -> dict[str, str]:
    return {conflict.paths[0]: conflict.message for conflict in mistakes(config(**kafka))}


def test_a_token_is_a_signed_request_to_connect_to_the_cluster_of_the_region(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", KEY)
    aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    made = MskTokens(REGION)
    (token, ends), parameters = made(""), signed(made("")[0])
    assert parameters["host"] == "kafka.eu-west-1.amazonaws.com"
    assert parameters["Action"] == "kafka-cluster:Connect"
    assert parameters["X-Amz-Expires"] == "900"
    assert parameters["X-Amz-Credential"].startswith(f"{KEY}/")
    assert parameters["X-Amz-Credential"].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert 0 < ends - time.time() <= 900
    assert SECRET not in token + str(parameters)
    assert made.error == ""


def test_credentials_in_a_file_are_read_for_each_token(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = MskTokens(REGION)
    for key in (KEY, "AKIDROTATED"):
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET}\n"
        (tmp_path / "credentials").write_text(text)
        assert signed(made("")[0])["X-Amz-Credential"].startswith(f"{key}/")


def test_without_credentials_the_error_is_named_and_the_next_token_is_asked_for_soon(aws: pytest.MonkeyPatch) -> None:
    made = MskTokens(REGION)
    _, ends = made("")
    assert made.error == "no AWS credentials were found"
    assert 0 < ends - time.time() <= 10
    aws.setenv("AWS_PROFILE", "trading")
    made("")
    assert made.error == "The config profile (trading) could not be found"
    aws.delenv("AWS_PROFILE")
    aws.setenv("AWS_ACCESS_KEY_ID", KEY)
    made("")
    assert made.error == "Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY"


def test_while_credentials_are_away_the_last_token_is_used_as_long_as_it_lives(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", KEY)
    aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    made = MskTokens(REGION)
    token, _ = made("")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    again, ends = made("")
    assert again == token
    assert ends - time.time() <= 10


def test_all_clients_of_a_region_ask_the_same_signer() -> None:
    given = config()
    assert login(Config()) == {}
    for properties in (
        clients.consumer_properties(given),
        clients.producer_properties(given),
        clients.isolated_properties(given),
        reader_properties(given),
    ):
        assert properties["oauth_cb"] is tokens(REGION)
        assert (properties["security.protocol"], properties["sasl.mechanism"]) == ("SASL_SSL", "OAUTHBEARER")


def test_a_region_that_is_not_that_of_the_brokers_is_a_mistake() -> None:
    serverless = "boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com:9098"
    assert found(bootstrap_servers="b-1.prices.abc.c2.kafka.eu-west-1.amazonaws.com:9098") == {}
    assert found(bootstrap_servers="b-1.prices.abc.c2.kafka.cn-north-1.amazonaws.com.cn:9098,kafka:9098") == {
        "kafka.msk_iam_region": 'got "eu-west-1", and the brokers are in cn-north-1: expected the same'
    }
    assert "us-east-1" in found(bootstrap_servers=serverless)["kafka.msk_iam_region"]


@pytest.mark.parametrize("section", ["properties", "consumer_properties", "producer_properties"])
def test_another_way_to_log_in_is_a_mistake(section: str) -> None:
    message = 'got "PLAIN", expected OAUTHBEARER with kafka.msk_iam_region, or leave it out'
    assert found(**{section: {"sasl.mechanisms": "PLAIN"}}) == {f"kafka.{section}.sasl.mechanisms": message}
    assert list(found(**{section: {"security.protocol": "ssl"}})) == [f"kafka.{section}.security.protocol"]
    assert found(**{section: {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}}) == {}


def test_without_the_library_the_extra_is_named_and_without_a_region_it_is_not_loaded(tmp_path: Path) -> None:
    """A finder that hides the library stands for an environment without it."""
    hidden = "import sys; sys.modules['aws_msk_iam_sasl_signer'] = None"
    run = f"{hidden}; from exporter.cli import main; sys.exit(main(sys.argv[1:]))"
    file = tmp_path / "config.yml"
    file.write_text(f"kafka: {{msk_iam_region: {REGION}}}")
    for command in ("check", "run"):
        done = subprocess.run(
            [sys.executable, "-c", run, command, f"--config.file={file}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "kafka.msk_iam_region: the library that signs is not installed" in done.stderr
        assert "marketdata-exporter[msk]" in done.stderr
    loaded = "from exporter import cli, app; import sys; print({'boto3', 'botocore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


# On a real broker.


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """A provider whose tokens live for four seconds."""
    with OidcProvider(tmp_path_factory.mktemp("provider"), seconds=4) as provider:
        yield provider


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[TokenBroker]:
    """A broker that accepts its tokens."""
    with running(TokenBroker(tmp_path_factory.mktemp("tokens"), provider)) as broker:
        yield broker


def test_a_sidecar_begins_once_there_are_credentials_and_its_tokens_are_renewed(
    broker: TokenBroker, provider: OidcProvider, deployment: Deployment, tmp_path: Path, aws: pytest.MonkeyPatch
) -> None:
    signer = SignerFolder(tmp_path, provider)
    aws.setenv("PYTHONPATH", str(signer.path))
    given = {"kafka__bootstrap_servers": broker.tokens, "kafka__properties": PROPERTIES}
    # No member is killed here, so the group need not give up one soon that a busy machine holds up.
    given |= {"kafka__consumer_properties": {"fetch.wait.max.ms": "20"}}
    sidecar = deployment.sidecar("one", **given, kafka__msk_iam_region=REGION).start()
    deployment.traffic.write(100)
    eventually(lambda: "no AWS credentials were found" in sidecar.get("/-/ready").text, READY_SECONDS)
    done = sidecar.run("audit", "--timeout=2")
    assert (done.returncode, "no AWS credentials were found" in done.stderr) == (2, True)
    signer.give_credentials()
    deployment.eventually_committed()
    eventually(lambda: sidecar.get("/-/ready").ok, READY_SECONDS)
    known = len(provider.given)
    eventually(lambda: len(provider.given) >= known + 3, READY_SECONDS)
    deployment.traffic.write(50)
    deployment.eventually_committed()
    assert set(provider.given) == {REGION}
    done = sidecar.run("replay", deployment.topic, "--json")
    assert done.returncode == 0, done.stderr
    assert "eyJ" not in sidecar.log  # no token
    sidecar.stop()
    deployment.assert_told_once()


def test_a_fault_of_the_login_names_why_there_is_no_token(aws: pytest.MonkeyPatch) -> None:
    made = MskTokens(REGION)
    made("")
    line = "sasl_ssl://one:9098/bootstrap: SASL authentication error: Access denied (after 1ms in state AUTH_REQ)"
    refused = parse_fault(line, "one:9098")
    assert refused is not None
    explained = diagnose(refused, {"oauth_cb": made})
    words = "no token of AWS IAM: no AWS credentials were found"
    assert explained.error == f"SASL authentication error: Access denied: {words}"
    assert refused.advice == explained.advice
    assert "kafka-cluster:Connect, and kafka.msk_iam_region" in explained.advice
