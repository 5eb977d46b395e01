"""Pretrained weights by their names on a hub: fetched once, then from the copy of this machine.

The hub is a small server on loopback that answers as the protocol of `huggingface_hub` wants it (HEAD and GET of
`/REPOSITORY/resolve/REVISION/FILE` with `ETag` and `X-Repo-Commit`); client, timm and transformers are the real ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402 - the skips above come first

from tests.export.folders import fights, imagefolder  # noqa: E402

BACKBONE = "mobilenetv3_small_050"
BERT = "somebody/tiny-bert"
_COMMIT = "1" * 40
_PATIENCE_S = 180


class Hub(ThreadingHTTPServer):
    """Serves the repositories of a folder, and keeps which files were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder = folder
        self.given: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        if path.startswith("api/models/"):
            data = self._about(path.removeprefix("api/models/"))
        else:
            repository, _, rest = path.partition("/resolve/")
            place = self.server.folder / repository / rest.partition("/")[2]
            data = place.read_bytes() if rest and place.is_file() else None
            if data is not None and with_body:
                self.server.given.append(place.name)
        self.send_response(HTTPStatus.NOT_FOUND if data is None else HTTPStatus.OK)
        if data is None:
            self.send_header("X-Error-Code", "EntryNotFound" if self._has_repository(path) else "RepoNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if with_body:
            self.wfile.write(data or b"")

    def _about(self, path: str) -> bytes | None:
        """Answer what a repository is, and what lies in it."""
        repository, _, place = path.partition("/tree/main")
        folder = self.server.folder / repository
        if not folder.is_dir() or place.strip("/"):
            return None
        files = [
            {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"} for file in folder.iterdir()
        ]
        names = [{"rfilename": file["path"]} for file in files]
        about: Any = files if "/tree/main" in path else {"id": repository, "sha": _COMMIT, "siblings": names}
        return json.dumps(about).encode()

    def _has_repository(self, path: str) -> bool:
        return self.server.folder.joinpath(*path.removeprefix("api/models/").split("/")[:2]).is_dir()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the base class has it
        """Say nothing."""


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(5)
    backbone = folder / timm.get_pretrained_cfg(BACKBONE).hf_hub_id
    backbone.mkdir(parents=True)
    save_file(timm.create_model(BACKBONE).state_dict(), backbone / "model.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "report", "guard", "gate", "fire"]
    bert = folder / BERT
    bert.mkdir(parents=True)
    (bert / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **shape)).save_pretrained(bert)
    transformers.BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(bert)
    return folder


@pytest.fixture
def hub(repositories: Path) -> Iterator[Hub]:
    with Hub(repositories) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _train(folder: Path, out: str, endpoint: str, *, bert: str = BERT) -> subprocess.CompletedProcess[str]:
    """Train for an epoch as a person would: the client of the hub reads its address when it is imported."""
    settings = {
        "image.kind": "timm",
        "image.backbone": BACKBONE,
        "image.trainable": "frozen",
        "image.height": 32,
        "image.width": 32,
        "text.kind": "bert",
        "text.pretrained": bert,
        "text.trainable": "frozen",
        "text.max_tokens": 8,
        "recipe.batch": 4,
        "recipe.threads": 1,
    }
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "kept"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = ("train", "--data", str(folder / "data"), "--out", str(folder / out), "--epochs", "1")
    return subprocess.run(
        [sys.executable, "-m", "vigil_export", *command, "--image-weights", "pretrained", *chosen],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )


def test_weights_are_fetched_by_name_and_kept_for_when_the_hub_is_gone(
    hub: Hub, repositories: Path, tmp_path: Path
) -> None:
    imagefolder(tmp_path / "data" / "train", fights(8))
    imagefolder(tmp_path / "data" / "validation", fights(4))
    endpoint = hub.address
    fetched = _train(tmp_path, "first", endpoint)
    assert fetched.returncode == 0, fetched.stderr
    assert hub.given.count("model.safetensors") == 2  # of backbone and BERT, once each
    given = load_file(repositories / timm.get_pretrained_cfg(BACKBONE).hf_hub_id / "model.safetensors")
    words = load_file(repositories / BERT / "model.safetensors")
    first = load_file(tmp_path / "first" / "weights.safetensors")
    assert torch.equal(first["image.body.conv_stem.weight"], given["conv_stem.weight"])
    embedding = "embeddings.word_embeddings.weight"
    assert torch.equal(first[f"text.body.{embedding}"], words[embedding])
    hub.shutdown()
    hub.server_close()
    kept = _train(tmp_path, "second", endpoint)
    assert kept.returncode == 0, kept.stderr
    second = load_file(tmp_path / "second" / "weights.safetensors")
    assert second.keys() == first.keys()
    assert all(torch.equal(second[name], weight) for name, weight in first.items())


def test_a_name_that_the_hub_does_not_have_says_what_to_do_and_leaves_no_run_behind(hub: Hub, tmp_path: Path) -> None:
    imagefolder(tmp_path / "data" / "train", fights(8))
    imagefolder(tmp_path / "data" / "validation", fights(4))
    found = _train(tmp_path, "run", hub.address, bert="somebody/no-such-bert")
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert "weights of somebody/no-such-bert: expected them on this machine or from http://127.0.0.1" in last
    assert "give a folder with config.json, model.safetensors and tokenizer.json" in last
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()
