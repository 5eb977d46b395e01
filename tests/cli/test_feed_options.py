"""How sources, names and zones on the command line become cameras."""

import pytest

from stream_app.adapters.feed import Camera
from stream_app.cli.feed import choose_cameras
from stream_app.terminal.outcome import CommandError


def test_sources_are_named_by_the_option_else_by_their_file() -> None:
    chosen = choose_cameras(["a/gate.mp4", "b/dock.mp4", "http://h/x?y=z:1", "0"], ["front"], "yard")
    assert [(camera.name, camera.zone) for camera in chosen] == [
        ("front", "yard"),
        ("dock", "yard"),
        ("camera-3", "yard"),
        ("camera-4", "yard"),
    ]


def test_a_camera_may_bring_its_own_zone_and_source() -> None:
    assert choose_cameras([], ["c1=dock:http://h:80/a=b", "c1=gate:v.mp4"], "yard") == [
        Camera(name="c1", zone="dock", source="http://h:80/a=b"),
        Camera(name="c1", zone="gate", source="v.mp4"),
    ]


@pytest.mark.parametrize(
    ("sources", "cameras", "message"),
    [
        (["a.mp4"], ["one", "two"], "found two"),
        (["x/a.mp4", "y/a.mp4"], [], "twice: a in yard"),
        (["a.mp4"], ["a=yard:b.mp4"], "twice: a in yard"),
        (["a.mp4"], ["\udcff"], "--camera: expected a name in UTF-8"),
        ([], ["a=\udcff:b.mp4"], "--zone: expected a name in UTF-8"),
    ],
)
def test_names_that_do_not_fit_are_wrong_usage(sources: list[str], cameras: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        choose_cameras(sources, cameras, "yard")
    assert refused.value.status == 2
