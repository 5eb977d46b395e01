"""The local Kafka: starts, serves large messages, survives a kill, refuses foreign jars, leaves nothing behind."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from typer.testing import CliRunner

from stream_app.cli.kafka import app
from stream_app.local_kafka import LocalKafka, LocalKafkaError, default_state_dir
from stream_app.local_kafka.broker_settings import MAX_MESSAGE_BYTES, NodePorts, node_settings
from stream_app.local_kafka.jars import load_jar_list, maven_repository, verified_class_path
from stream_app.local_kafka.ports import free_ports, is_listening
from stream_app.local_kafka.process_identity import end_marked, mark_process


async def _write(bootstrap: str, topic: str, *, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=MAX_MESSAGE_BYTES, acks="all")
    async with producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def _create(bootstrap: str, topic: str, *, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=replicas)])
    finally:
        await admin.close()


async def _read(bootstrap: str, topic: str, *, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    async with consumer, asyncio.timeout(60):
        return [(await consumer.getone()).value for _ in range(count)]


@pytest.mark.kafka
def test_a_message_of_seven_megabytes_goes_through(kafka: LocalKafka, topic_prefix: str) -> None:
    value = os.urandom(7_000_000)

    async def scenario() -> list[bytes]:
        await _create(kafka.bootstrap, topic_prefix)
        await _write(kafka.bootstrap, topic_prefix, values=[value])
        return await _read(kafka.bootstrap, topic_prefix, count=1)

    assert asyncio.run(scenario()) == [value]


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[LocalKafka]:
    with LocalKafka() as kafka:
        yield kafka


@pytest.mark.kafka
def test_a_killed_node_comes_back_with_its_data_at_the_same_address(own_kafka: LocalKafka, topic_prefix: str) -> None:
    bootstrap = own_kafka.bootstrap
    asyncio.run(_create(bootstrap, topic_prefix))
    asyncio.run(_write(bootstrap, topic_prefix, values=[b"before"]))

    own_kafka.kill(1)
    assert own_kafka.pids == {}
    own_kafka.restart(1)

    assert own_kafka.bootstrap == bootstrap
    asyncio.run(_write(bootstrap, topic_prefix, values=[b"after"]))
    assert asyncio.run(_read(bootstrap, topic_prefix, count=2)) == [b"before", b"after"]


@pytest.mark.kafka
def test_a_paused_node_answers_nothing_until_it_is_resumed(own_kafka: LocalKafka, topic_prefix: str) -> None:
    asyncio.run(_create(own_kafka.bootstrap, topic_prefix))
    process = psutil.Process(own_kafka.pids[1])

    own_kafka.pause(1)
    try:
        assert process.status() == psutil.STATUS_STOPPED
    finally:
        own_kafka.resume(1)

    asyncio.run(_write(own_kafka.bootstrap, topic_prefix, values=[b"x"]))
    assert asyncio.run(_read(own_kafka.bootstrap, topic_prefix, count=1)) == [b"x"]


@pytest.mark.kafka
def test_three_nodes_serve_while_one_is_dead(topic_prefix: str) -> None:
    with LocalKafka(3) as kafka:
        asyncio.run(_create(kafka.bootstrap, topic_prefix, replicas=3))
        kafka.kill(2)
        asyncio.run(_write(kafka.bootstrap, topic_prefix, values=[b"x"]))
        assert asyncio.run(_read(kafka.bootstrap, topic_prefix, count=1)) == [b"x"]
        assert sorted(kafka.pids) == [1, 3]


@pytest.mark.kafka
def test_a_stopped_kafka_leaves_no_process_and_no_folder() -> None:
    kafka = LocalKafka().start()
    pids, folder = kafka.pids, kafka.folder

    kafka.stop()
    kafka.stop()

    assert not folder.exists()
    assert not psutil.pid_exists(pids[1])


@pytest.mark.kafka
def test_a_node_that_does_not_come_up_is_an_error_with_its_log_and_leaves_no_process() -> None:
    kafka = LocalKafka(settings={"num.io.threads": "none"})

    with pytest.raises(LocalKafkaError, match="exit status") as caught:
        kafka.start()

    found = re.search(r"Log: (\S+\.log)", str(caught.value))
    assert found is not None
    log = Path(found[1])
    assert "num.io.threads" in str(caught.value)
    assert "num.io.threads" in log.read_text()
    assert kafka.log_paths == ()
    shutil.rmtree(log.parent)


@pytest.mark.kafka
def test_the_nodes_end_with_a_parent_that_is_killed() -> None:
    script = (
        "from stream_app.local_kafka import LocalKafka\n"
        "kafka = LocalKafka().start()\n"
        "print(kafka.pids[1], kafka.folder, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        node = psutil.Process(int(pid))
        parent.kill()
        psutil.wait_procs([node], timeout=60)
    assert not node.is_running() or node.status() == psutil.STATUS_ZOMBIE
    shutil.rmtree(folder)


@pytest.mark.kafka
def test_an_interrupted_start_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from stream_app.local_kafka import LocalKafka\n"
        "print('starting', flush=True)\n"
        "try:\n"
        "    LocalKafka().start()\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "starting\n"
        deadline = time.monotonic() + 100
        java: list[psutil.Process] = []
        while not java and time.monotonic() < deadline:
            children = psutil.Process(parent.pid).children(recursive=True)
            java = [child for child in children if "kafka.Kafka" in _command(child)]
        assert java
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) == 7
    assert not java[0].is_running()
    assert not list(tmp_path.glob("vigil-kafka-*"))


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


@pytest.mark.kafka
def test_up_status_and_down_manage_one_broker_that_outlives_the_command(tmp_path: Path) -> None:
    option = ["--state-dir", str(tmp_path)]
    run = CliRunner().invoke
    assert run(app, ["status", *option]).exit_code == 1

    up = run(app, ["up", *option])
    try:
        assert up.exit_code == 0, up.output
        status = run(app, ["status", *option])
        assert status.exit_code == 0
        address = re.search(r"up: 127\.0\.0\.1:(\d+)", status.output)
        assert address is not None
        assert is_listening(int(address[1]))
        second = run(app, ["up", *option])
        assert second.exit_code == 1
        assert "is up already" in second.output
    finally:
        down = run(app, ["down", *option])

    assert down.exit_code == 0, down.output
    assert not is_listening(int(address[1]))
    assert run(app, ["status", *option]).exit_code == 1
    assert run(app, ["down", *option]).exit_code == 1


def test_down_does_not_touch_a_process_that_only_has_the_same_id(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        mark = mark_process(bystander.pid)
        assert mark is not None
        stale = msgspec.structs.replace(mark, start_ticks=mark.start_ticks - 1)
        state = {"bootstrap": "127.0.0.1:1", "folder": str(tmp_path / "data"), "nodes": [stale]}
        (tmp_path / "kafka.json").write_bytes(msgspec.json.encode(state))

        result = CliRunner().invoke(app, ["down", "--state-dir", str(tmp_path)])

        assert result.exit_code == 1
        assert bystander.poll() is None
        assert end_marked(mark, grace_s=60.0)
        assert bystander.wait(60) == -signal.SIGTERM


def test_a_process_that_was_marked_while_it_was_beginning_is_known_again() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as begun:
        mark = mark_process(begun.pid)
        assert mark is not None
        assert end_marked(msgspec.structs.replace(mark, command=""), grace_s=60.0)  # as it is before exec(2) is done
        assert begun.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("arguments", [["up", "--nodes", "2"], ["up", "--port", "80"], ["sideways"]])
def test_wrong_usage_has_exit_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_the_state_directory_follows_the_xdg_rule() -> None:
    assert default_state_dir({"XDG_STATE_HOME": "/somewhere"}) == Path("/somewhere/vigil")
    assert default_state_dir({}) == Path.home() / ".local" / "state" / "vigil"


@pytest.fixture
def copied_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with all jars, so that one can be spoilt."""
    verified_class_path()
    source = maven_repository()
    for name in load_jar_list().sha256:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(source / name)
    monkeypatch.setenv("M2_REPO", str(tmp_path))
    return tmp_path


@pytest.mark.kafka
def test_jars_that_are_there_need_no_network(copied_jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    class_path = verified_class_path().split(":")
    assert len(class_path) == len(load_jar_list().sha256)
    assert all(Path(jar).is_relative_to(copied_jars) for jar in class_path)


@pytest.mark.kafka
def test_a_jar_with_other_bytes_is_refused_with_expected_and_found(copied_jars: Path) -> None:
    name, expected = next(iter(load_jar_list().sha256.items()))
    (copied_jars / name).unlink()
    (copied_jars / name).write_bytes(b"not a jar")

    with pytest.raises(LocalKafkaError, match=f"expected SHA-256 {expected}, found [0-9a-f]{{64}}") as caught:
        LocalKafka().start()

    assert str(copied_jars / name) in str(caught.value)


@pytest.mark.kafka
def test_a_missing_jar_without_network_is_an_error_that_says_what_is_needed(
    copied_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (copied_jars / next(iter(load_jar_list().sha256))).unlink()

    with pytest.raises(LocalKafkaError, match=r"1 are missing .*needs Maven Central"):
        verified_class_path()


def test_the_list_pins_one_kafka_and_a_digest_for_each_jar() -> None:
    jar_list = load_jar_list()
    assert "org.apache.kafka:kafka_2.13:4.3.1!" in jar_list.coordinates
    assert any(name.endswith("kafka_2.13-4.3.1.jar") for name in jar_list.sha256)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in jar_list.sha256.values())


def test_every_listener_is_on_loopback_and_three_nodes_replicate_three_times() -> None:
    ports = {n: NodePorts(client=20_000 + n, controller=21_000 + n) for n in (1, 2, 3)}
    settings = node_settings(2, ports=ports)
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:21002"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"
    assert settings["default.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == "2"


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(6))) == 6


@pytest.mark.parametrize("nodes", [0, 2, 4])
def test_only_one_or_three_nodes_are_offered(nodes: int) -> None:
    with pytest.raises(LocalKafkaError, match=f"found {nodes}"):
        LocalKafka(nodes)


def test_a_kafka_that_is_not_started_says_so() -> None:
    with pytest.raises(LocalKafkaError, match="not started"):
        LocalKafka().restart(1)


@pytest.mark.kafka
@pytest.mark.parametrize("command", [["kafka", "up"], ["demo", "--seconds", "15", "--zones", "1"]], ids=["up", "demo"])
def test_a_command_that_is_interrupted_while_kafka_starts_leaves_nothing(command: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    environment.pop("VIGIL_BROKER", None)
    arguments = [sys.executable, "-m", "stream_app", *command]
    arguments += ["--out", str(tmp_path / "out")] if command[0] == "demo" else []
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(tmp_path.glob("vigil-kafka-*/*.properties")):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in said.splitlines()[-1]
    assert list(tmp_path.glob("vigil-kafka-*")) == []
