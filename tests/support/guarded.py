"""A broker at which a user may do nothing but what is allowed."""

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.support.kafka import Broker
from tests.support.process import free_port

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required user_sidecar=secret;"
CREDENTIALS = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "sidecar",
    "sasl.password": "secret",
}


class GuardedBroker(Broker):
    """At `bootstrap` everybody may do anything; at `guarded` there is a user `sidecar`, who may do what is allowed."""

    def __init__(self, directory: Path, properties: Mapping[str, str] | None = None) -> None:
        super().__init__(directory, properties)
        self.guarded = f"127.0.0.1:{free_port()}"
        self.listen("GUARDED", self.guarded, self.guarded, "SASL_PLAINTEXT")
        self._properties |= {
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": LOGIN,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def listen(self, name: str, address: str, advertised: str, protocol: str = "PLAINTEXT") -> None:
        """Have one more way in, which clients are told to find at another address."""
        self._properties["listeners"] += f",{name}://{address}"
        self._properties["advertised.listeners"] += f",{name}://{advertised}"
        self._properties["listener.security.protocol.map"] += f",{name}:{protocol}"

    def allow(self, resource: ResourceType, name: str, *operations: AclOperation) -> None:
        """Let the user do that with a topic, a group or a transactional.id of that name."""
        who = "User:sidecar", "*"
        acls = [
            AclBinding(resource, name, ResourcePatternType.LITERAL, *who, operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient(self._client())  # kept: its answers die with it
        for made in admin.create_acls(acls).values():
            made.result(10)
