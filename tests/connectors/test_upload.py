"""Uploads: what is inflated, what is refused before anything leaves, and how lines fall into blocks."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.upload import LONGEST_LINE, Upload, UploadRefused

OPEN: list[Upload] = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while OPEN:
        OPEN.pop().close()


def upload(body, encoding="gzip", *, max_inflated=1 << 30, max_ratio=400):
    made = Upload(encoding, max_inflated=max_inflated, max_ratio=max_ratio)
    OPEN.append(made)
    for start in range(0, len(body), 1000):
        made.write(body[start : start + 1000])
    return made


def lines_of(made, size=1000):
    assert made.verify() is False
    return [line for block in made.blocks(size) for line in block.split(b"\n") if line.strip()]


@pytest.mark.parametrize(
    "text", [b'{"content":"tests"}', b'{"content":"test"}', b"test", b'{ "content": "tests" }\n', b" test\r\n"]
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_validation_upload_is_known_in_all_spellings(text, packed):
    body = gzip.compress(text) if packed else text
    assert upload(body, "gzip" if packed else "").verify() is True


@pytest.mark.parametrize(
    "text", [b"", b"tests", b'{"content":"tests"}\n{"content":"tests"}', b'{"content":"tests","RayID":"1"}']
)
def test_what_only_looks_like_a_validation_upload_is_none(text):
    assert upload(gzip.compress(text)).verify() is False


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip"])
def test_gzip_is_told_by_the_header_or_by_its_first_bytes(encoding):
    assert lines_of(upload(gzip.compress(b'{"a":1}\n{"a":2}'), encoding)) == [b'{"a":1}', b'{"a":2}']


def test_a_plain_body_needs_no_encoding():
    assert lines_of(upload(b'{"a":1}\n\n{"a":2}\n', "")) == [b'{"a":1}', b'{"a":2}']


def test_members_of_gzip_follow_each_other_and_may_be_padded():
    body = gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"a":2}\n') + b"\0" * 512
    assert lines_of(upload(body)) == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}',
        gzip.compress(b'{"a":1}')[:-1],
        gzip.compress(b'{"a":1}')[:12],
        b"\x1f",
        gzip.compress(b'{"a":1}')[:-8] + b"\1" * 8,
        gzip.compress(b'{"a":1}') + b"more",
        zlib.compress(b'{"a":1}'),
    ],
    ids=["plain", "torn", "torn early", "one byte", "wrong checksum", "something behind", "zlib"],
)
def test_broken_gzip_is_refused_as_400(body):
    with pytest.raises(UploadRefused, match="cannot be inflated") as found:
        upload(body).verify()
    assert found.value.status == 400


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_another_encoding_is_refused_as_415(encoding):
    with pytest.raises(UploadRefused, match="send gzip or none") as found:
        upload(b"", encoding)
    assert found.value.status == 415


def test_an_upload_that_inflates_to_too_much_is_refused_as_413():
    body = gzip.compress(b'{"a":1}\n' * 1000)
    assert upload(body, max_inflated=8000).verify() is False
    with pytest.raises(UploadRefused, match="more than 7999 bytes") as found:
        upload(body, max_inflated=7999).verify()
    assert found.value.status == 413


def test_a_bomb_is_refused_before_it_is_inflated_to_the_limit():
    bomb = gzip.compress(b"0" * 100_000_000)
    made = upload(bomb)
    with pytest.raises(UploadRefused, match="more than 400 times its size"):
        made.verify()
    assert made.inflated < 68_000_000


@given(
    st.lists(st.text(st.characters(exclude_characters="\n[", codec="utf-8"), max_size=60), max_size=40),
    st.integers(1, 200),
    st.booleans(),
)
def test_no_line_is_lost_or_torn_however_blocks_are_cut(texts, size, ends):
    body = "\n".join(texts).encode() + (b"\n" if ends else b"")
    made = upload(gzip.compress(body))
    if made.verify():
        return
    blocks = list(made.blocks(size))
    assert [line for block in blocks for line in block.split(b"\n") if line] == [line for line in body.split(b"\n") if line]
    assert [block for block in blocks if len(block) > size and b"\n" in block.strip(b"\n")] == []


def test_the_same_bytes_make_the_same_blocks_however_they_came():
    body = gzip.compress(b"".join(b'{"n":%d}\n' % n for n in range(200_000)))
    one = upload(b"")
    one.write(body)
    assert list(one.blocks(50_000)) == list(upload(body).blocks(50_000))
    assert one.digest == upload(body).digest


@pytest.mark.parametrize("length", [LONGEST_LINE + 1, 5_000_000])
def test_a_line_that_is_too_long_is_one_block_and_its_neighbours_are_whole(length):
    body = b'{"a":1}\n' + b"x" * length + b'\n{"a":2}\n' + b"y" * length
    made = upload(gzip.compress(body))
    made.verify()
    blocks = list(made.blocks(1000))
    assert [len(block) > LONGEST_LINE for block in blocks] == [False, True, False, True]
    assert [blocks[0].strip(), blocks[2].strip()] == [b'{"a":1}', b'{"a":2}']


def test_one_json_array_is_read_as_its_elements():
    body = b' [{"a":1},\n {"a":\n2}, 3]'
    assert lines_of(upload(gzip.compress(body))) == [b'{"a":1}', b'{"a": 2}', b"3"]


def test_what_begins_like_an_array_and_is_none_is_read_as_lines():
    assert lines_of(upload(b'[1,\n{"a":1}\n', "")) == [b"[1,", b'{"a":1}']
