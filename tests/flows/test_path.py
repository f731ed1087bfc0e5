"""Path templates."""

import pytest

from flows.path import template


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("/api/pitches/123", "/api/pitches/:id"),
        ("/api/pitches/123/nda?page=2#x", "/api/pitches/:id/nda"),
        ("/", "/"),
        ("", ""),
        ("/static/app.js", "/static/app.js"),
        ("/u/6f1c2d3e-aaaa-bbbb-cccc-0123456789ab", "/u/:id"),
        ("/blob/0123456789abcdef0123", "/blob/:id"),
        ("/v2/users", "/v2/users"),
        ("/t/eyJhbGciOiJIUzI1NiIsInR5", "/t/:id"),
        ("/static/img/testimonial-hipster.png", "/static/img/testimonial-hipster.png"),
        ("https://h0.example.com/api/pitches/42?x=1", "https://h0.example.com/api/pitches/:id"),
        ("/api//7/", "/api//:id/"),
    ],
)
def test_identifiers_become_a_placeholder_and_the_query_goes(path, want):
    assert template(path) == want
