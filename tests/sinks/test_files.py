"""The order in which the output of a bounded run is put."""

from hypothesis import given
from hypothesis import strategies as st

from sinks.files import Segments, write_outputs

NAMES = ("requests", "b", "é", "requests\x01x", "z")


@given(st.lists(st.tuples(st.sampled_from([-5, 0, 300_000, 2**40]), st.sampled_from(NAMES)), max_size=30))
def test_blocks_stand_by_time_and_name_and_those_alike_as_they_came(tmp_path_factory, places):
    folder = tmp_path_factory.mktemp("run")
    segments = Segments(folder, None)
    blocks = [(at, name, f"{number} {at}\n".encode() * number) for number, (at, name) in enumerate(places)]
    for block in blocks:
        segments.append("windows", *block)
    segments.close()
    write_outputs(folder, folder, ["windows"])
    want = sorted(blocks, key=lambda block: (block[0], block[1].encode()))
    assert (folder / "windows.ndjson").read_bytes() == b"".join(data for _, _, data in want)
