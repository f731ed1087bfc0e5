"""Files of incidents: what is read of each form, and what each fault is called."""

import json

import pytest

from connectors.traffic import Traffic, TrafficOptions, write_archive
from flows.incidents import Incident, IncidentError, read_incidents, within

HOUR = 3_600_000
START = 1_764_576_000_000  # 2025-12-01T08:00:00Z


def written(tmp_path, text):
    path = tmp_path / "incidents.csv"
    path.write_text(text)
    return path


def test_labels_have_start_end_name_and_may_name_rule_and_key(tmp_path):
    text = 'start,end,name,rule,key\n2025-12-01T10:00:00+01:00,2025-12-01T09:30:00Z,second,slow,"{""host"": ""a""}"\n'
    text += "2025-12-01T08:00:00Z,2025-12-01T08:10:00Z,first,,\n"
    assert read_incidents(written(tmp_path, text)) == [
        Incident(START, START + 600_000, "first"),
        Incident(START + HOUR, START + HOUR + 1_800_000, "second", "slow", '{"host":"a"}'),
    ]


def test_the_labels_of_made_traffic_are_read(tmp_path):
    write_archive(Traffic(TrafficOptions(seed=3, records_per_second=1.0)), tmp_path / "logs")
    found = read_incidents(tmp_path / "logs" / "incidents.csv")
    assert [each.rule for each in found] == ["high_error_rate", "slow_responses", "low_cache_hit_rate"]
    assert within(found, found[1].start, found[2].start) == found[1:2]


def test_pagerdutys_csv_export_is_read_with_times_as_utc(tmp_path):
    text = "id,incident_number,description,service_name,created_on,resolved_on\n"
    text += "PABC,7,Checkout fails,edge,2025-12-01 08:00:00,2025-12-01 09:00:00\nPDEF,8,still open,edge,2025-12-01 10:00:00,\n"
    assert read_incidents(written(tmp_path, text)) == [Incident(START, START + HOUR, "Checkout fails")]


def test_an_incident_that_edgewatch_opened_at_pagerduty_names_its_rule(tmp_path):
    key = "edgewatch/production/high_error_rate/0123456789abcdef:1764576000"
    row = {"title": "High error rate", "created_at": "2025-12-01T08:00:00Z", "resolved_at": "2025-12-01T09:00:00Z"}
    rows = [row | {"incident_key": key, "status": "resolved"}, row | {"status": "acknowledged"}]
    found = read_incidents(written(tmp_path, json.dumps({"incidents": rows})))
    assert found == [Incident(START, START + HOUR, "High error rate", "high_error_rate")]


def test_statuspages_list_is_read(tmp_path):
    row = {"name": "API down", "started_at": "2025-12-01T08:00:00.000Z", "created_at": "2025-12-01T08:05:00Z"}
    found = read_incidents(written(tmp_path, json.dumps([row | {"resolved_at": "2025-12-01T09:00:00Z", "status": "resolved"}])))
    assert found == [Incident(START, START + HOUR, "API down")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from,to\n1,2\n", "has no column 'start' (or started_at, created_on, created_at); its first line has: from, to"),
        ("", "has no column 'start'"),
        ("start,end,name\nyesterday,2025-12-01T08:00:00Z,x\n", "line 2: start 'yesterday' is not a time such as"),
        (
            "start,end,name\n2025-12-01T08:00:00Z,2025-12-01T08:00:00Z,x\n",
            "which is not after its start",
        ),
        (
            "start,end,name,key\n2025-12-01T08:00:00Z,2025-12-01T09:00:00Z,x,host\n",
            "line 2: key 'host' is not an object of strings",
        ),
        (
            "start,end,name\n2025-12-01T08:00:00Z,2025-12-01T09:00:00Z,one\n2025-12-01T08:30:00Z,2025-12-01T09:30:00Z,two\n",
            "'one' (to 2025-12-01T09:00:00Z) and 'two' (from 2025-12-01T08:30:00Z) overlap",
        ),
        ('{"incidents": 3}', "holds no list of incidents"),
        ("[1]", "holds no list of incidents"),
        ('{"incidents": [', "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_place(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(IncidentError) as caught:
        read_incidents(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_incidents_of_two_rules_may_overlap(tmp_path):
    span = "2025-12-01T08:00:00Z,2025-12-01T09:00:00Z"
    assert len(read_incidents(written(tmp_path, f"start,end,name,rule\n{span},a,x\n{span},b,y\n"))) == 2


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IncidentError, match=r"nowhere[.]csv: cannot be read: No such file"):
        read_incidents(tmp_path / "nowhere.csv")
