"""Records published by others decode, or are refused with the reason a person would give."""

from pathlib import Path

import numpy as np
import pytest

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch

DATA = Path(__file__).parent.parent / "data" / "logpush"
FIELDS = frozenset(
    {"ClientRequestHost", "EdgeResponseStatus", "CacheCacheStatus", "ClientCountry", "ParentRayID", "WorkerSubrequest"}
)


def read(name):
    dataset = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))
    progress = Progress(topic="t", partition=0)
    chunk = Chunk(
        progress,
        Timing(pane_ms=300_000, allowed_lateness_ms=120_000),
        [(DATA / name).read_bytes()],
        np.zeros(1, np.int64),
        np.full(1, NO_LIMIT),
    )
    return read_batch(Decoder(dataset, FIELDS), [chunk]), progress


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("logflare_http_requests_body.ndjson.gz", 2),
        ("logflare_http_requests_unixnano.ndjson", 2),
        ("lnav_http_requests_unixnano.ndjson", 15),
        ("otel_http_requests_multi.ndjson", 5),
        ("cfdocs_output_ndjson.ndjson", 3),
    ],
)
def test_http_requests_of_others_decode(name, records):
    batch, progress = read(name)
    assert (len(batch), progress.dead) == (records, 0)


@pytest.mark.parametrize(
    ("name", "records", "reason"),
    [
        ("panther_firewall_events.ndjson", 3, "no valid event time in EdgeEndTimestamp or EdgeStartTimestamp"),
        ("cfdocs_output_csv_noheader.csv", 3, "not JSON"),
        ("cfdocs_output_renamed_fields.ndjson", 3, "no valid event time in EdgeEndTimestamp or EdgeStartTimestamp"),
        ("cfdocs_merged_subrequests.ndjson", 1, "no valid event time in EdgeEndTimestamp or EdgeStartTimestamp"),
        (
            "cfdocs_workers_trace_logs_exceptions.ndjson",
            1,
            "no valid event time in EdgeEndTimestamp or EdgeStartTimestamp",
        ),
    ],
)
def test_other_datasets_are_dead_letters_with_a_reason(name, records, reason):
    batch, progress = read(name)
    assert (len(batch), progress.dead) == (0, records)
    assert {letter.reason for letter in batch.dead} == {reason}


def test_values_of_real_records_arrive_as_they_were_written():
    batch, _ = read("lnav_http_requests_unixnano.ndjson")
    hosts = batch.strings["ClientRequestHost"]
    assert batch.times[0] == 1_712_790_000_123
    assert batch.identity[0] == "87a1b2c3d4e5f001"
    assert hosts.vocabulary[hosts.codes[0]] == "www.example.com"
    assert batch.strings["ClientCountry"].vocabulary[0] == "us"
    assert sorted(batch.numbers["EdgeResponseStatus"].tolist()) == [200.0] * 9 + [
        204.0,
        401.0,
        403.0,
        403.0,
        404.0,
        502.0,
    ]
