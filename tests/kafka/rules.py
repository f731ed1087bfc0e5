"""Rules: what users of a broker with access rules (ACLs) may do with topics: given, and taken again."""

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

_WAIT_S = 30.0


def give(brokers: str, user: str, topic: str, right: AclOperation) -> None:
    """Let a user do something with a topic."""
    made = AclBinding(*_rule(user, topic, right))
    admin = _admin(brokers)  # its answers are lost with it
    for each in admin.create_acls([made]).values():
        each.result(_WAIT_S)


def take(brokers: str, user: str, topic: str, right: AclOperation) -> None:
    """Take that right again."""
    admin = _admin(brokers)
    for each in admin.delete_acls([AclBindingFilter(*_rule(user, topic, right))]).values():
        assert each.result(_WAIT_S)


def _rule(user: str, topic: str, right: AclOperation) -> tuple:
    kind = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
    return *kind, f"User:{user}", "*", right, AclPermissionType.ALLOW


def _admin(brokers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers, "log_level": 0})
