"""A collector of OpenTelemetry: takes traces by OTLP over HTTP, and reads them with the protocol's own messages."""

import gzip
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from tests.fakes.scripted import Answer, ScriptedServer, Seen

AUTHORIZATION = "Bearer planted-collector-word"


class FakeCollector(ScriptedServer):
    """`spans` as they came: protobuf's messages; `resource` is what the last of them were of."""

    def __init__(self, port: int = 0) -> None:
        """Start empty."""
        super().__init__(port)
        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}

    def reply(self, seen: Seen) -> Answer:
        """Answer as the specification of OTLP has it."""
        if seen.path != "/v1/traces" or seen.headers.get("content-type") != "application/x-protobuf":
            return Answer(404)
        if seen.headers.get("authorization") != AUTHORIZATION:
            return Answer(401)
        body = gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
        try:
            found = ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            return Answer(400)
        for each in found.resource_spans:
            self.resource = {pair.key: pair.value.string_value for pair in each.resource.attributes}
            self.spans += [span for scope in each.scope_spans for span in scope.spans]
        return Answer(200, ExportTraceServiceResponse().SerializeToString(), {"Content-Type": "application/x-protobuf"})
