"""Several machines before they run: the file of addresses, and a door over real HTTP that takes who fits and says why not."""

import contextlib
import re
import shutil
import threading
import time

import pytest

from connectors.plan import PlannedPartition, make_plan, read_plan, write_plan
from connectors.source import SourceError
from flows.config import ConfigErrors, load
from flows.engine import parts_in, prepare_recovery
from flows.follower import Follower
from flows.health import DOWN, Finding
from flows.health_words import text_of, title_of
from flows.machines import Address, Place, read_place
from flows.muster import Muster
from flows.run_folder import RunFolder, RunSpec
from flows.served import Served
from flows.several import check_address
from flows.shared_run import begin_run
from flows.supervisor import ProcessDied
from tests.ports import free_port, free_ports
from tests.runs import edgewatch

CONFIG = """
[input.kafka]
brokers = ["127.0.0.1:1"]
topics = {{ logs = "http_requests" }}
[engine]
directory = "{directory}"
token = "{token}"
[window]
length = "{length}"
"""


def configured(folder, *, token="", length="5m"):
    folder.mkdir(exist_ok=True)
    path = folder / "monitor.toml"
    path.write_text(CONFIG.format(directory=folder / "state", token=token, length=length))
    return load(path)


def refused(path, text, config, machine=0):
    path.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        read_place(path, machine, config)
    return str(caught.value)


def test_a_file_of_addresses_is_read_and_what_is_wrong_with_it_is_said_by_line(tmp_path):
    config, path = configured(tmp_path), tmp_path / "machines"
    path.write_text("# the run\n127.0.0.1:9200\n\nlocalhost:9201 # the other\n[::1]:9200\n")
    place = read_place(path, 2, config)
    assert [str(each) for each in place.engines] == ["127.0.0.1:9200", "localhost:9201", "[::1]:9200"]
    assert (place.door, place.leads, place.named(1)) == (Address("127.0.0.1", 9201), False, "machine 1 (localhost:9201)")
    twice = refused(path, "127.0.0.1:9200\nhere\n127.0.0.1:9200\n127.0.0.1:70000 x\n", config)
    assert [line.removeprefix(f"{path}: ") for line in twice.splitlines()] == [
        "line 2: 'here' is not host:port such as 10.0.0.7:9200",
        "line 3: 127.0.0.1:9200 is on line 1 already",
        "line 4: one host:port a line; the first may have that of the door behind it",
        "line 4: '127.0.0.1:70000' is not host:port such as 10.0.0.7:9200",
    ]
    assert "has 1 machines; a run has 2 to 64" in refused(path, "127.0.0.1:9200\n", config)
    assert "line 1: the door of machine 0 would be 127.0.0.1:9201, which is taken" in refused(
        path, "127.0.0.1:9200\n127.0.0.1:9201\n", config
    )
    assert "--process-id 2: the file has machine 0 to 1" in refused(path, "127.0.0.1:9200\n127.0.0.1:9300\n", config, 2)
    assert "engine.token: needs a secret that all machines share" in refused(path, "10.0.0.1:9200\n10.0.0.2:9200\n", config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--process-id", "0"], "--process-id and --addresses go together"),
        (["--process-id", "0", "--addresses", "FILE", "--processes", "2"], "it goes with neither --processes nor --until-end"),
        (["--process-id", "2", "--addresses", "FILE"], "machines: --process-id 2: the file has machine 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(tmp_path, options, words):
    config = configured(tmp_path)
    (tmp_path / "machines").write_text("127.0.0.1:9200\n127.0.0.1:9300\n")
    given = [str(tmp_path / "machines") if each == "FILE" else each for each in options]
    done = edgewatch("run", "-c", config.source, *given)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SourceError, match=r"cannot listen on 192.0.2.1:9200.*is --process-id the line of this machine"):
        check_address(Address("192.0.2.1", 9200), allow_public=False)


@pytest.mark.parametrize(
    ("host", "words"), [("8.8.8.8", "is a public address"), ("2600::1", "is a public"), ("0.0.0.0", "is every address")]
)
def test_a_machine_does_not_listen_where_strangers_are_unless_it_is_told_to(host, words):
    with pytest.raises(SourceError, match=rf"{words}.*who reaches it can run code.*allow_public = true in \[engine\]"):
        check_address(Address(host, 9200), allow_public=False)
    check_address(Address("0.0.0.0", free_port()), allow_public=True)


class Run:
    """Machine 0 with its door, and others that ask there."""

    def __init__(self, folder):
        self.folder, self.token = folder, r"t\n"  # as a secret that was made from a file
        first, second, door = free_ports(3)
        engines = (Address("127.0.0.1", first), Address("127.0.0.1", second))
        self.places = [Place(machine=k, engines=engines, door=Address("127.0.0.1", door)) for k in (0, 1)]
        self.told = threading.Event()
        self.alarms = []
        self.closing = contextlib.ExitStack()

    def state(self, machine):
        return RunFolder(self.folder / str(machine) / "state")

    @contextlib.contextmanager
    def leads(self):
        folder = self.folder / "0"
        self.told.clear()
        config, state = configured(folder, token=self.token), self.state(0)
        begin_run(state)
        prepare_recovery(state.recovery, 0, 2)
        parts = [PlannedPartition(topic="logs", partition=k, dataset="http_requests", allowed_lateness_ms=0) for k in range(3)]
        write_plan(state.plan, make_plan(parts, {"mode": "live"}))
        muster = Muster(config, self.places[0], state, 7, self.alarms.append)
        door = Served(muster.application, ("127.0.0.1", self.places[0].door.port), "door")
        try:
            yield muster
        finally:
            self.told.set()
            self.closing.close()
            door.stop()

    def follower(self, **words):
        config, state = configured(self.folder / "1", **({"token": self.token} | words)), self.state(1)
        spec = RunSpec(
            mode="live",
            config=str(config.source),
            source="kafka",
            start=None,
            end=None,
            out=None,
            state=str(state.path),
            machine=1,
            machines=2,
        )
        made = Follower(config, self.places[1], state, spec)
        self.closing.callback(made.close)
        return made

    def together(self, muster, follower):
        """Have both meet; gives what each found, or the error of one, which ends the other's waiting."""
        found = {}

        def meet(name, meeting):
            try:
                found[name] = meeting.meet(self.told)
            except SourceError as error:
                found[name] = str(error)
                self.told.set()

        threads = [threading.Thread(target=meet, args=each) for each in ((0, muster), (1, follower))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.told.clear()
        return found


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.mark.slow
def test_machines_meet_share_the_store_and_the_plan_and_hear_of_each_other(run):
    with run.leads() as muster:
        follower = run.follower()
        addresses = [str(each) for each in run.places[0].engines]
        assert run.together(muster, follower) == {0: ([0], addresses), 1: ([1], addresses)}
        leader, other = run.state(0), run.state(1)
        assert (parts_in(leader.recovery), parts_in(other.recovery)) == ((0, 2), (1, 3))
        assert read_plan(other.plan) == read_plan(leader.plan)
        (other.path / "advances").mkdir()
        line = '{"partition":"logs/1","offset":3,"high":9}\n'
        (other.path / "advances" / "lane-1.ndjson").write_text(line + '{"partit')
        assert (muster.look(), follower.look()) == (False, False)
        assert (leader.path / "advances" / "lane-1.ndjson").read_text() == line
        with (other.path / "advances" / "lane-1.ndjson").open("a") as file:
            file.write('ion":"logs/1","offset":4,"high":9}\n')
        ending = threading.Thread(target=muster.ended)
        ending.start()
        follower.ended()
        ending.join()
        assert (leader.path / "advances" / "lane-1.ndjson").read_text() == line + line.replace("3", "4")
        follower.drain()
        assert (follower.look(), muster.look()) == (True, True)
        assert run.together(muster, follower)[1] == ([1], addresses)
        assert (follower.look(), muster.look()) == (False, False)
        again = run.follower()  # it has died, and asks while the others run
        assert again._ask("/join", again._joins(), dict)["missing"] == [f"machine 0 ({addresses[0]}), which begins again"]
        with pytest.raises(ProcessDied, match=r"machine 1 .* has begun again"):
            muster.look()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"token": "another"}, r"machine 0 .* does not take this machine's token"),
        ({"length": "1m"}, r"machine 1 .* runs configuration \w+ on .*, and machine 0 configuration \w+ on"),
    ],
)
def test_a_machine_that_does_not_fit_is_refused_and_told_why(run, words, reason):
    with run.leads() as muster:
        assert re.search(reason, run.together(muster, run.follower(**words))[1])


@pytest.mark.slow
def test_a_run_does_not_start_while_parts_of_its_store_are_missing_or_there_twice_or_of_another_run(run):
    with run.leads() as muster:
        run.together(muster, run.follower())
        other = run.state(1)
        (other.recovery / "part-3.sqlite3").rename(run.folder / "kept")
        assert "the recovery store are on none of the machines: 3." in run.together(muster, run.follower())[0]
        (run.folder / "kept").rename(other.recovery / "part-2.sqlite3")
        assert "part 2 of the recovery store is on machine 0" in run.together(muster, run.follower())[0]
    shutil.rmtree(run.state(0).recovery)
    with run.leads() as muster:
        assert "has state of another run" in run.together(muster, run.follower())[1]


def test_a_machine_that_stays_away_is_told_to_people(run):
    with run.leads() as muster:
        muster._config = configured(run.folder / "0", token=run.token, length="5m")
        object.__setattr__(muster._config.window, "stall_after_ms", 300)
        waiting = threading.Thread(target=muster.meet, args=(run.told,))
        waiting.start()
        while not run.alarms:
            time.sleep(0.02)
        run.told.set()
        waiting.join()
    assert run.alarms == [f"machine 1 ({run.places[0].engines[1]})"]
    down = [Finding(DOWN, "http_requests", run.alarms[0], 0, 0, whole=True)]
    assert title_of(down, "b:1") == f"edgewatch is blind: the run stands still until {run.alarms[0]} is back"
    assert text_of(down, "b:1").endswith("Start it there: all go on where they stopped, and records wait on their topics.")
