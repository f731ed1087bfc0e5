"""Access to a real broker: logins and certificates, right and wrong ones, and what is said of those that are wrong.

Each refusal is one sentence that names the broker and the keys of the configuration to look at, and holds no secret.
"""

import contextlib
import re
import socket
import struct
import threading

import pytest
from confluent_kafka.admin import AclOperation as Right  # type: ignore[attr-defined]

from connectors.forward import TopicMissing, check_topics, shared_settings
from connectors.kafka import KafkaSource
from connectors.kafka_client import Watch, open_consumer, topics_there
from connectors.kafka_options import KafkaOptions
from connectors.source import SourceError
from sinks.kafka_topic import KafkaTopic, KafkaTopicOptions
from sinks.notification import DeliveryError
from tests.fakes.authority import Authority
from tests.fakes.notifications import notification
from tests.kafka import rules, topics
from tests.kafka.broker import Broker, Login, missing
from tests.kafka.test_kafka_source import read_all, reading
from tests.kafka.topics import Sent
from tests.services import missing as service_missing

pytestmark = [pytest.mark.slow, pytest.mark.kafka]
PASSWORD, KEY = "planted-kafka-word", "planted-key-word"


class There:
    """A broker with all kinds of doors, and what opens them."""

    def __init__(self, folder):
        self.root, self.other = Authority(folder / "root"), Authority(folder / "other", "other")
        self.client, self.stranger = self.root.issue("reader", password=KEY), self.other.issue("stranger")
        self.broker = Broker(folder / "kafka", login=Login(user="reader", password=PASSWORD), authority=self.root, rules=True)

    def login(self, **changes):
        known = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "reader"}
        return known | {"sasl.password": PASSWORD, "ssl.ca.location": str(self.root.file)} | changes

    def certificate(self, made=None, **changes):
        made = made or self.client
        known = {"security.protocol": "SSL", "ssl.ca.location": str(self.root.file), "ssl.key.password": KEY}
        return known | {"ssl.certificate.location": str(made.file), "ssl.key.location": str(made.key)} | changes


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    if lack := missing():
        service_missing("kafka", lack)
    made = There(tmp_path_factory.mktemp("access"))
    with made.broker:
        for name in ("t", "listed", "hidden"):
            topics.create(made.broker.address, name, 1, {"retention.ms": "-1"})
        topics.send(made.broker.address, "listed", [Sent(None, b"{}", 1, 0)])
        rules.give(made.broker.address, "reader", "t", Right.READ)
        rules.give(made.broker.address, "CN=reader", "t", Right.READ)
        rules.give(made.broker.address, "reader", "listed", Right.DESCRIBE)
        yield made


def source(address, folder, client, topic="t"):
    folder.mkdir(exist_ok=True)
    options = KafkaOptions(brokers=(address,), start="earliest", topics={topic: "http_requests"}, client=client)
    return KafkaSource(options, reading(), folder, live=False, idle_after_ms=500)


def refused(address, folder, client):
    with pytest.raises(SourceError) as caught:
        source(address, folder, client)
    said = str(caught.value)
    assert not re.search("planted", said)
    assert not (folder / "plan.json").exists()
    return said


def test_a_login_over_tls_and_a_clients_certificate_open_the_door(there, tmp_path):
    for number, (address, client) in enumerate(
        [(there.broker.sasl_tls_address, there.login()), (there.broker.tls_address, there.certificate())]
    ):
        assert source(address, tmp_path / str(number), client).partitions() == {"http_requests": ["t/0"]}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_wrong_password_is_said(there, tmp_path, protocol, mechanism):
    address = there.broker.sasl_address if protocol == "SASL_PLAINTEXT" else there.broker.sasl_tls_address
    client = there.login(**{"security.protocol": protocol, "sasl.mechanism": mechanism, "sasl.password": "planted-wrong"})
    said = refused(address, tmp_path, client)
    assert said.startswith(f"Kafka at {address} refused this client: ")
    assert "SASL authentication error" in said
    assert said.endswith("; check [input.kafka.client]")


class HangsUp:
    """Stands before a broker's SASL port, and hangs up at the first so many requests of a kind."""

    def __init__(self, address, kind, times):
        self._to, self._kind, self.left = int(address.rpartition(":")[2]), kind, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, struct.error))  # one of the two ends it
            far = stack.enter_context(socket.create_connection(("127.0.0.1", self._to)))
            asks, says = (stack.enter_context(each.makefile("rb")) for each in (stack.enter_context(near), far))
            while size := asks.read(4):
                asked = asks.read(struct.unpack(">i", size)[0])
                if struct.unpack(">h", asked[:2])[0] == self._kind and self.left:
                    self.left -= 1
                    return
                far.sendall(size + asked)
                size = says.read(4)
                near.sendall(size + says.read(struct.unpack(">i", size)[0]))


@pytest.mark.parametrize("kind", [17, 36], ids=["SaslHandshake", "SaslAuthenticate"])
def test_a_broker_that_hangs_up_at_a_login_is_no_wrong_login(there, kind):
    client = there.login(**{"security.protocol": "SASL_PLAINTEXT"})
    del client["ssl.ca.location"]
    with HangsUp(there.broker.sasl_address, kind, times=1_000) as hook:
        options = KafkaOptions(brokers=(hook.address,), topics={"t": "http_requests"}, client=client)
        watch = Watch(hook.address)
        asks = open_consumer(options, watch)
        with pytest.raises(SourceError) as caught:
            topics_there(asks, watch, 0.5)
        assert watch.fatal is None
        assert re.search(
            r"cannot be reached \(.*SASL .*; some brokers hang up on a wrong one: check the login", str(caught.value)
        )
        hook.left = 0
        assert "t" in topics_there(asks, watch, 30)  # it goes on by itself
        asks.close()


def test_an_authority_that_did_not_sign_the_brokers_certificate_is_said(there, tmp_path):
    address = there.broker.sasl_tls_address
    for client in (there.login(**{"ssl.ca.location": str(there.other.file)}), there.certificate(there.stranger)):
        said = refused(address if "sasl.username" in client else there.broker.tls_address, tmp_path, client)
        assert "ertificate" in said
        assert "ssl.ca.location, ssl.certificate.location and ssl.key.location in [input.kafka.client]" in said


def test_a_host_name_that_the_certificate_does_not_have_is_said(there, tmp_path):
    address = there.broker.sasl_tls_address.replace("localhost", "127.0.0.1")
    said = refused(address, tmp_path, there.login())
    assert said.startswith(f"Kafka at {address}: ")
    assert "certificate verify failed" in said
    assert "for the name that [input.kafka].brokers has" in said


def test_a_broker_that_wants_a_certificate_and_gets_none_is_said(there, tmp_path):
    client = {"security.protocol": "SSL", "ssl.ca.location": str(there.root.file)}
    said = refused(there.broker.tls_address, tmp_path, client)
    assert said.startswith(f"Kafka at {there.broker.tls_address} refused this client: ")
    assert "alert bad certificate" in said
    assert "ssl.certificate.location" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ssl.key.password": "planted-wrong"}, "ssl.key.location failed"),
        ({"ssl.ca.location": "/nowhere/ca.pem"}, "ssl.ca.location failed"),
        ({"ssl.truststore": "x"}, 'No such configuration property: "ssl.truststore"'),
    ],
)
def test_settings_that_the_client_does_not_take_are_said(there, tmp_path, changes, words):
    said = refused(there.broker.tls_address, tmp_path, there.certificate(**changes))
    assert said.startswith("[input.kafka.client] is not taken: ")
    assert words in said


def test_a_topic_that_the_user_has_no_right_to_is_said(there, tmp_path):
    address = there.broker.sasl_tls_address
    with pytest.raises(SourceError, match=r"topic hidden does not exist at Kafka .* or is hidden from this user \(ACLs\)"):
        source(address, tmp_path / "hidden", there.login(), "hidden")
    lane = source(address, tmp_path / "listed", there.login(), "listed").open("lane-0", None)
    words = rf"Kafka at {address} refused this client: listed/0: .*; give its user the rights Describe and Read on the topic"
    with pytest.raises(SourceError, match=words):
        read_all(lane)
    lane.close()


def test_a_resume_says_that_the_right_to_its_topic_is_gone(there, tmp_path):
    """The plan is there, so nobody looks at the list of topics, in which it is hidden now."""
    address = there.broker.sasl_tls_address
    topics.send(there.broker.address, "t", [Sent(None, b"{}", 1, 0)])
    planned = source(address, tmp_path / "t", there.login())
    rules.take(there.broker.address, "reader", "t", Right.READ)
    try:
        words = rf"Kafka at {address} refused this client: t/0: .*authorization failed; give its user the rights"
        with pytest.raises(SourceError, match=words):
            planned.open("lane-0", None)
    finally:
        rules.give(there.broker.address, "reader", "t", Right.READ)


def test_who_sends_is_told_too(there):
    client = there.login(**{"ssl.ca.location": str(there.other.file)})
    with pytest.raises(TopicMissing, match=r"certificate verify failed.*\[input.kafka.client\]"):
        check_topics(shared_settings([there.broker.sasl_tls_address], client), ["t"])
    options = KafkaTopicOptions(brokers=(there.broker.sasl_tls_address,), topic="t", client=client, timeout_ms=2000)
    with pytest.raises(DeliveryError, match=r"topic t.*certificate verify failed.*ssl.ca.location"):
        KafkaTopic("copy", options).send(notification(), {})
