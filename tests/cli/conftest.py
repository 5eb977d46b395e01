"""What tests of commands share: topics of their own on the real Kafka, and a folder of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.deployment import Deployment, Kafka


@pytest.fixture
def deployment(kafka: Kafka, topic_prefix: str, capsys: pytest.CaptureFixture[str]) -> Deployment:
    made = Deployment(kafka.bootstrap, topic_prefix)
    assert made.run("topics", "create", "--partitions", "2") == 0
    capsys.readouterr()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "gate"
    pictures.mkdir()
    for number in range(3):
        cv2.imwrite(str(pictures / f"{number}.jpg"), np.full((48, 64, 3), 80 * number, np.uint8))
    return pictures
