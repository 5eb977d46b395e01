"""Where settings come from, which wins, and what is refused."""

from pathlib import Path

import pytest

from stream_app.config import SettingsError, load_settings

EMPTY: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _no_file_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_later_sources_win_and_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('commit_ms = 1\nidle_ms = 2\ncaught_up_ms = 3\nbootstrap = "file:1"\n', encoding="utf-8")
    environ = {"VIGIL_IDLE_MS": "20", "VIGIL_CAUGHT_UP_MS": "30", "VIGIL_BROKER": "broker:2"}
    loaded = load_settings(
        file=file,
        environ=environ,
        assignments=["caught_up_ms=300", "in_flight=9"],
        flags={"in_flight": 7, "group": None},
    )
    operational = loaded.operational
    assert (operational.commit_ms, operational.idle_ms, operational.caught_up_ms) == (1, 20, 300)
    assert (operational.in_flight, operational.bootstrap, operational.group) == (7, "broker:2", "")
    assert loaded.origins["commit_ms"] == f"file {file}"
    assert loaded.origins["idle_ms"] == "environment VIGIL_IDLE_MS"
    assert loaded.origins["caught_up_ms"] == "--set caught_up_ms"
    assert loaded.origins["in_flight"] == "flag for in_flight"
    assert loaded.origins["bootstrap"] == "environment VIGIL_BROKER"
    assert loaded.origins["health_port"] == "default"


def test_the_file_is_the_one_named_else_the_variable_else_the_one_here(tmp_path: Path) -> None:
    here, named, by_variable = tmp_path / "vigil.toml", tmp_path / "a.toml", tmp_path / "b.toml"
    assert load_settings(environ=EMPTY).file is None
    for number, file in enumerate((here, named, by_variable), start=1):
        file.write_text(f"idle_ms = {number}\n", encoding="utf-8")
    variable = {"VIGIL_CONFIG": str(by_variable)}
    assert load_settings(environ=EMPTY).operational.idle_ms == 1
    assert load_settings(environ=variable).operational.idle_ms == 3
    assert load_settings(environ=variable, file=named).operational.idle_ms == 2


@pytest.mark.parametrize(
    ("environ", "assignments", "message"),
    [
        (EMPTY, ["comit_ms=5"], "unknown setting comit_ms (--set comit_ms): did you mean commit_ms?"),
        ({"VIGIL_COMIT_MS": "5"}, [], "unknown setting VIGIL_COMIT_MS (environment): did you mean VIGIL_COMMIT_MS?"),
        (EMPTY, ["commit_ms=0"], "setting commit_ms (--set commit_ms): expected integer >= 1, found '0'"),
        (EMPTY, ["commit_ms=soon"], "expected integer >= 1, found 'soon'"),
        (EMPTY, ["provider=gpu"], "expected auto | cuda | tensorrt | cpu, found 'gpu'"),
        (EMPTY, ["health_port=70000"], "expected integer >= 0 <= 65535"),
        (EMPTY, ["commit_ms"], "expected name=value, found 'commit_ms'"),
        (EMPTY, ["quiet_ms=10"], "setting quiet_ms: expected >= before_ms + after_ms + grace_ms = 5000, found 10"),
        (EMPTY, ["session_timeout_ms=5000"], "setting heartbeat_ms: expected <= session_timeout_ms / 3 = 1666"),
        (EMPTY, ["alerts_topic=vigil.texts"], "expected seven different names"),
        (EMPTY, ["deployment=a b"], "setting deployment: expected 1-200 of letters"),
        (EMPTY, ["start_from=yesterday"], "expected earliest, latest or an RFC 3339 time, found 'yesterday'"),
        (EMPTY, ["bootstrap=kafka"], "setting bootstrap: expected host:port"),
        (EMPTY, ["security_protocol=SASL_SSL"], "expected both set, for SASL_SSL"),
        (EMPTY, ["thresholds.fight.open_at=1"], "expected a probability strictly between 0 and 1"),
        (EMPTY, ["thresholds.fight.open=0.5"], "did you mean thresholds.fight.open_at?"),
        (EMPTY, ["batch_pairs=2"], "expected integer >= 3, found '2'"),
        (EMPTY, [f"window_bytes={2**80}"], "expected integer >= 1, at most 2^53 either way"),
        (
            {"VIGIL_BEFORE_MS": str(-(2**60))},
            [],
            "setting before_ms (environment VIGIL_BEFORE_MS): expected integer, at",
        ),
        (
            {"VIGIL_THRESHOLDS": '{"fight": {}}'},
            [],
            "setting thresholds.fight (environment VIGIL_THRESHOLDS): expected",
        ),
        ({"VIGIL_THRESHOLDS": '{"a":' * 9_000}, [], "setting thresholds (environment VIGIL_THRESHOLDS): expected JSON"),
        ({"VIGIL_THRESHOLDS": "0.5"}, [], "setting thresholds (environment VIGIL_THRESHOLDS): expected a table"),
    ],
)
def test_what_does_not_hold_is_refused_with_expected_and_found(
    environ: dict[str, str], assignments: list[str], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ=environ, assignments=assignments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("commit_ms = '5'", "expected integer >= 1, found '5'"),
        ("[kafka]\nbootstrap = 'a:1'", "unknown setting kafka"),
        ("commit_ms = ", "expected TOML"),
        ("[thresholds.fight]\nopen = 0.5", "did you mean thresholds.fight.open_at?"),
        ("thresholds = 3", "expected a table of labels"),
        ("[thresholds.fihgt]", "expected open_at, close_at or both, found {}"),
        ("sample_ms = 99999999999999999999", "expected integer >= 1, at most 2^53 either way"),
        ("how = " + "[" * 9_000, "expected TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file=file, environ=EMPTY)
    assert message in str(refused.value)


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a TOML file, found none"):
        load_settings(environ={"VIGIL_CONFIG": str(tmp_path / "none.toml")})


def test_variables_that_kubernetes_sets_for_a_service_are_not_settings() -> None:
    links = {
        "VIGIL_SERVICE_HOST": "10.0.0.1",
        "VIGIL_SERVICE_PORT_HTTP": "80",
        "VIGIL_PORT": "tcp://10.0.0.1:80",
        "VIGIL_PORT_80_TCP_ADDR": "10.0.0.1",
        "VIGIL_HEALTH_PORT": "tcp://10.0.0.1:6066",
        "VIGIL_WORKER_PORT_6066_TCP": "tcp://10.0.0.1:6066",
    }
    loaded = load_settings(environ=links)
    assert set(loaded.origins.values()) == {"default"}


def test_a_secret_is_in_no_message_and_no_repr(tmp_path: Path) -> None:
    loaded = load_settings(environ={"VIGIL_SASL_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(loaded)
    file = tmp_path / "secret.toml"
    file.write_text("sasl_password = ['hunter2']\n", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file=file, environ=EMPTY)
    assert "hunter2" not in str(refused.value)


def test_text_from_the_environment_is_read_as_the_settings_type() -> None:
    loaded = load_settings(environ={"VIGIL_BEFORE_MS": "-200", "VIGIL_HOW": "outer"})
    assert (loaded.semantic.before_ms, loaded.semantic.how) == (-200, "outer")


def test_the_largest_image_that_is_allowed_fits_into_a_batch_that_is_read() -> None:
    least = 32 * 1024 * 1024 + 1024 * 1024
    image = f"max_image_bytes={32 * 1024 * 1024}"
    load_settings(environ=EMPTY, assignments=[image, f"batch_bytes={least}"])
    with pytest.raises(SettingsError, match=rf"batch_bytes .*expected >= max_image_bytes \+ 1 MiB = {least}, found"):
        load_settings(environ=EMPTY, assignments=[image, f"batch_bytes={least - 1}"])
