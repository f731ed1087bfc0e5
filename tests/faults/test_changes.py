"""Faults that people make: a topic grown, a second run on one state, offsets that are gone, a login that is revoked."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation as Right  # type: ignore[attr-defined]
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.faults.account import length
from tests.faults.world import PARTITIONS, TOPIC, world
from tests.kafka import rules, topics
from tests.kafka.broker import Broker, Login
from tests.runs import ROOT, checked, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]
LOGIN = Login(user="reader", password="planted-password")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    broker = Broker(folder / "kafka", login=LOGIN, login_ms=2000, rules=True)
    settings = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    settings |= {"sasl.username": LOGIN.user, "sasl.password": LOGIN.password}
    client = "\n".join(["[input.kafka.client]", *(f'"{name}" = "{value}"' for name, value in settings.items())])
    with broker:
        rules.give(broker.address, LOGIN.user, TOPIC, Right.READ)
        with world(folder, broker=broker, brokers=broker.sasl_address, client=client) as found:
            yield found


def test_a_topic_gets_partitions_and_they_are_read_too(there):
    before = there.line.children()
    with there.fault("topic grown by partitions"):
        topics.widen(there.broker.address, TOPIC, PARTITIONS + 2)
        wait_until(there.line.begins, what="new partitions in the plan")
        wait_until(lambda: there.line.children() and not {*there.line.children()} & {*before}, what="a new start")
        there.load.widen(there.line.begins())  # before it is live: windows wait for a partition that has no records
        there.line.until_live()
        time.sleep(1)
    wait_until(there.line.report, what="the status")
    assert {f"{each.topic}/{each.partition}" for each in there.line.report().partitions} == {
        f"{TOPIC}/{number}" for number in range(PARTITIONS + 2)
    }


def test_a_second_run_on_the_same_state_is_refused_by_name_and_the_first_goes_on(there):
    with there.fault("two clusters on one recovery folder"):
        command = [sys.executable, "-m", "flows.cli", "run", "-c", str(there.line.config), "--processes", "2"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        words = rf"{re.escape(str(there.line.state))} is in use by another run \(process {there.line.pid}\); stop it"
        assert re.search(words, done.stderr), done.stderr


def memory_group():
    """Give a folder of the kernel's that bounds the memory of what is put into it, None where there is none to be had."""
    for place, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(place) / f"edgewatch-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            return group, limit
        group.rmdir()
    return None


def test_a_process_is_killed_for_want_of_memory(there):
    before = there.line.children()
    group = memory_group()
    by = "kernel, cgroup" if group else "SIGKILL of the test: no cgroup here"
    with there.fault(f"out of memory kill ({by})", repeats=1):
        if group is None:
            os.kill(before[0], signal.SIGKILL)
        else:
            folder, limit = group
            (folder / limit).write_text("1000000")
            (folder / "cgroup.procs").write_text(str(before[0]))
        wait_until(lambda: before[0] not in there.line.children(), what="the kill")
    # A kernel that finds pages to drop takes its time, in which the process stands still.
    assert re.search("was killed by SIGKILL|made no progress", there.line.said())
    if group is not None:
        group[0].rmdir()


def test_a_login_is_revoked_for_a_while(there):
    admin = AdminClient({"bootstrap.servers": there.broker.address, "log_level": 0})
    with there.fault("consumer credentials revoked", repeats=1):
        alter(admin, UserScramCredentialDeletion(LOGIN.user, ScramMechanism.SCRAM_SHA_512))
        wait_until(lambda: "refused this client" in there.line.said(), what="a refusal")
        time.sleep(length(60))
        known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        alter(admin, UserScramCredentialUpsertion(LOGIN.user, known, LOGIN.password.encode()))
    assert LOGIN.password not in there.line.said()


def test_the_right_to_read_is_revoked_for_a_while(there):
    known = len(there.line.said())
    with there.fault("consumer's right to read revoked", repeats=1):
        rules.take(there.broker.address, LOGIN.user, TOPIC, Right.READ)
        wait_until(lambda: "opic authorization failed" in there.line.said()[known:], what="a refusal")
        time.sleep(length(60))
        rules.give(there.broker.address, LOGIN.user, TOPIC, Right.READ)
    said = there.line.said()[known:]
    assert "refused this client" in said
    assert "give its user the rights Describe and Read on the topic (ACLs)" in said


def alter(admin, change):
    for future in admin.alter_user_scram_credentials([change]).values():
        future.result(30)


def test_retention_took_the_offsets_to_resume_from_and_the_start_says_which(there):
    line = there.line
    with there.load.rest():
        pass
    line.kill()
    time.sleep(length(60) / 4)
    with there.load.rest():
        ends = {number: topics.end(there.broker.address, TOPIC, number) for number in range(2)}
        topics.delete_before(there.broker.address, TOPIC, ends)
    line.start()
    assert line.process.wait(60) == 1
    ((number, last),) = set(re.findall(rf"{TOPIC}/([01]): offsets \d+ to (\d+) are lost", line.said())[:1])
    assert int(last) == ends[int(number)] - 1
    assert any("cannot be started again" in title for title in there.account.own_words())
    checked("recovery", "reset", "-c", line.config, "--yes", "--keep-alerts")
    line.start()
    line.until_live()
    before = sum(there.hook.taken.values())
    wait_until(lambda: sum(there.hook.taken.values()) > before, what="an alert after it")
