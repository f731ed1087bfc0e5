"""Payloads of a block are those that were put in, in parts and together, and what decodes them reads the block itself."""

import numpy as np
import pytest

from connectors.block import Block, bytes_of, joined
from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from tests import services

PAYLOADS = [
    b'{"EdgeEndTimestamp":1764547200000,"ClientRequestHost":"a","RayID":"1"}',
    None,
    b"",
    b"broken\xff",
    b'{"EdgeEndTimestamp":1764547200001,"ClientRequestHost":"b"}\n{"EdgeEndTimestamp":1764547200002,"RayID":"3"}',
]


def block(payloads=PAYLOADS):
    size = np.array([-1 if each is None else len(each) for each in payloads], np.int64)
    return Block(b"".join(each + b"\n" for each in payloads if each is not None), np.cumsum(size + 1) - size - 1, size)


def test_a_block_is_a_sequence_of_its_payloads():
    found = block()
    assert (len(found), list(found), bytes_of(found)) == (5, PAYLOADS, bytes_of(PAYLOADS))
    assert (list(found[1:4]), found[-1], found[0], bytes_of(found[:0])) == (PAYLOADS[1:4], PAYLOADS[4], PAYLOADS[0], 0)
    with pytest.raises(IndexError):
        found[5]


def test_parts_of_one_block_are_joined_in_it_and_others_one_by_one():
    found = block()
    together = joined([found[3:], found[:2]])
    assert isinstance(together, Block)
    assert list(together) == [*PAYLOADS[3:], *PAYLOADS[:2]]
    assert joined([found]) is found
    assert joined([found[:1], block()[1:2], [b"x"]]) == [PAYLOADS[0], None, b"x"]
    assert joined([]) == []


@pytest.mark.parametrize("native", [None, False])
def test_a_block_decodes_as_its_payloads_do(native):
    decoder = Decoder(
        build_dataset(DatasetOptions(name="r", kind="http_requests")), frozenset({"ClientRequestHost"}), native=native
    )
    once, again = decoder.decode(PAYLOADS), decoder.decode(block())
    assert again.refusals == once.refusals
    assert len(once.refusals) == 3
    for name in ("payload", "index", "times"):
        assert getattr(once, name).tolist() == getattr(again, name).tolist()
    assert once.strings["ClientRequestHost"].codes.tolist() == again.strings["ClientRequestHost"].codes.tolist()
    assert list(once.identity) == list(again.identity) == ["1", None, "3"]
    places = np.arange(len(once.times))
    assert again.records(places) == once.records(places)
    assert [again.source(i) for i in places.tolist()] == [once.source(i) for i in places.tolist()]


def test_a_place_outside_of_its_block_is_refused():
    decoder = Decoder(build_dataset(DatasetOptions(name="r", kind="http_requests")), frozenset({"ClientRequestHost"}))
    if not decoder.native:
        services.missing("compiler")
    for start, size in ((-1, 2), (0, 9), (9, 0), (2**62, 2**62)):
        with pytest.raises(ValueError, match="outside of its block"):
            decoder.decode(Block(b"{}", np.array([start]), np.array([size])))
