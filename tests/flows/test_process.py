"""A process's sign of life: the monitor outside is to miss it where no alert would be heard."""

import logging

import pytest

from flows.process import beat_if_heard


def test_no_sign_of_life_is_given_while_no_channel_takes_alerts(caplog: pytest.LogCaptureFixture) -> None:
    beats: list[str] = []
    with caplog.at_level(logging.ERROR):
        beat_if_heard(lambda: beats.append("heard"), lambda: False)
        beat_if_heard(lambda: beats.append("unheard"), lambda: True)
    assert beats == ["heard"]
    assert "no channel takes alerts" in caplog.text
