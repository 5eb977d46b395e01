"""Encoders: exact under padding, of the shape that they state, frozen where they should be, honest about weights."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
timm = pytest.importorskip("timm")

import huggingface_hub.constants  # noqa: E402 - the skips above come first
from safetensors.torch import save_file  # noqa: E402

from vigil_export.models.encoders import (  # noqa: E402
    Encoder,
    ImageEncoderSpec,
    SpecError,
    TextEncoderSpec,
    WeightsError,
    build_image_encoder,
    build_text_encoder,
)
from vigil_export.models.encoders.weights import is_hub_reachable  # noqa: E402
from vigil_export.models.layers import Form  # noqa: E402
from vigil_export.training.config import encode_config, make_config  # noqa: E402

LITE0 = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "efficientnet_lite0.safetensors"
FORMS: tuple[Form, ...] = ("pooled", "tokens")
TEXTS = {
    "lstm": TextEncoderSpec(kind="lstm", vocabulary=40, embedding=8, width=6, features=5, max_tokens=12),
    "gru, two layers from both sides": TextEncoderSpec(
        kind="gru", bidirectional=True, layers=2, vocabulary=40, embedding=8, width=6, features=5, max_tokens=12
    ),
    "bag": TextEncoderSpec(kind="bag", vocabulary=40, embedding=8, features=5, max_tokens=12),
    "transformer": TextEncoderSpec(
        kind="transformer", vocabulary=40, embedding=6, width=8, layers=2, features=5, max_tokens=12
    ),
    "lstm from both sides, not projected": TextEncoderSpec(
        kind="lstm", bidirectional=True, vocabulary=40, embedding=8, width=6, features=0, max_tokens=12
    ),
}
IMAGES = {
    "narrow-resnet": ImageEncoderSpec(height=32, width=48, features=5, grid=3),
    "plain-cnn": ImageEncoderSpec(kind="plain-cnn", height=30, width=48, features=0, grid=3),
    "resnet": ImageEncoderSpec(kind="timm", backbone="resnet10t", height=32, width=32, features=5),
    "resnet, an earlier map": ImageEncoderSpec(
        kind="timm", backbone="resnet10t", height=64, width=32, features=0, stage=-2, grid=2
    ),
    "mobilenet": ImageEncoderSpec(kind="timm", backbone="mobilenetv3_small_050", height=32, width=32, features=0),
    "vision transformer": ImageEncoderSpec(
        kind="timm", backbone="vit_tiny_patch16_224", height=32, width=48, features=5
    ),
    "swin": ImageEncoderSpec(kind="timm", backbone="swin_tiny_patch4_window7_224", height=64, width=64, features=5),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(5)


def _inside(encoder: Encoder) -> Any:  # noqa: ANN401 - timm has no types
    return encoder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TEXTS)
def test_padding_and_what_stands_in_it_change_nothing_of_a_text(kind: str, form: Form) -> None:
    encoder = build_text_encoder(TEXTS[kind], form).eval()
    rng = np.random.default_rng(1)
    with torch.inference_mode():
        for length in (1, 2, 7):
            row, size = torch.from_numpy(rng.integers(0, 40, (1, length))), torch.tensor([length])
            bare = encoder(row, size)
            assert bare.shape == (1, *encoder.shape)
            for more in (1, 5):
                padded = torch.cat((row, torch.from_numpy(rng.integers(0, 40, (1, more)))), 1)
                assert torch.allclose(encoder(padded, size), bare, atol=1e-6)


@pytest.mark.parametrize("kind", TEXTS)
def test_tokens_are_marked_where_they_are_real_and_zero_elsewhere(kind: str) -> None:
    encoder = build_text_encoder(TEXTS[kind], "tokens").eval()
    with torch.inference_mode():
        found = encoder(torch.randint(0, 40, (3, 9)), torch.tensor([1, 4, 9]))
    assert found.shape == (3, *encoder.shape)
    assert found[:, :, -1].sum(1).tolist() == [1, 4, 9]
    assert not found[0, 1:].any()
    assert not found[2, 9:].any()


def test_a_text_read_from_both_sides_depends_on_its_first_and_its_last_word() -> None:
    encoder = build_text_encoder(TEXTS["lstm from both sides, not projected"], "tokens").eval()
    row = torch.tensor([[3, 4, 5, 6]])
    with torch.inference_mode():
        found = encoder(row, torch.tensor([4]))
        other_end = encoder(torch.tensor([[3, 4, 5, 7]]), torch.tensor([4]))
    assert torch.equal(found[0, 0, :6], other_end[0, 0, :6])  # rightward: the first word has not seen the last
    assert not torch.allclose(found[0, 0, 6:12], other_end[0, 0, 6:12])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_encoder_gives_the_shape_that_it_states(kind: str, form: Form) -> None:
    spec = IMAGES[kind]
    encoder = build_image_encoder(spec, form).eval()
    with torch.inference_mode():
        found = encoder(torch.randint(0, 256, (2, spec.height, spec.width, 3), dtype=torch.uint8))
    assert found.shape == (2, *encoder.shape)
    assert len(encoder.shape) == (2 if form == "tokens" else 1)
    assert torch.isfinite(found).all()
    if spec.features:
        assert encoder.shape[-1] == spec.features


def test_the_pixels_of_a_backbone_are_normalised_as_timm_says() -> None:
    spec = ImageEncoderSpec(kind="timm", backbone="resnet10t", height=32, width=32, features=0)
    encoder = build_image_encoder(spec, "pooled").eval()
    image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    config = timm.get_pretrained_cfg("resnet10t")
    mean, deviation = (torch.tensor(values).reshape(3, 1, 1) for values in (config.mean, config.std))
    with torch.inference_mode():
        expected = _inside(encoder).body((image.permute(0, 3, 1, 2) / 255 - mean) / deviation)
        assert torch.allclose(encoder(image), expected, atol=1e-4)


def test_a_frozen_backbone_keeps_its_weights_and_its_means_and_thaws_from_its_end(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    spec = ImageEncoderSpec(
        kind="timm",
        backbone="resnet10t",
        height=32,
        width=32,
        weights=str(tmp_path / "w.safetensors"),
        trainable="staged",
    )
    encoder = build_image_encoder(spec, "pooled").train()
    before = {name: value.clone() for name, value in _inside(encoder).body.state_dict().items()}
    encoder(torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in _inside(encoder).body.state_dict().items())
    assert all(weight.grad is None for weight in _inside(encoder).body.parameters())
    assert all(weight.grad is not None for weight in _inside(encoder).end.parameters())
    encoder.thaw(1)
    learns = {name.split(".")[0] for name, weight in _inside(encoder).body.named_parameters() if weight.requires_grad}
    assert learns == {"layer4"}
    assert not _inside(encoder).body.layer1.training
    assert _inside(encoder).body.layer4[0].bn1.training
    encoder.thaw(encoder.stage_count)
    assert all(weight.requires_grad for weight in encoder.parameters())
    assert all(module.training for module in encoder.modules())


def test_a_file_of_other_weights_is_refused_with_the_names_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    spec = ImageEncoderSpec(kind="timm", backbone="resnet10t", height=32, width=32, weights=str(path))
    with pytest.raises(WeightsError, match=r"expected a \.safetensors file, found none"):
        build_image_encoder(spec, "pooled")
    path.write_bytes(b"no such thing")
    with pytest.raises(WeightsError, match=r"expected a \.safetensors file"):
        build_image_encoder(spec, "pooled")
    weights = timm.create_model("resnet10t", num_classes=10).state_dict()
    save_file({**weights, "other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="unknown other"):
        build_image_encoder(spec, "pooled")
    save_file({name: value for name, value in weights.items() if name != "conv1.0.weight"}, path)
    with pytest.raises(WeightsError, match=r"lacks conv1\.0\.weight"):
        build_image_encoder(spec, "pooled")
    save_file(weights, path)  # its classifier is left out
    body = _inside(build_image_encoder(spec, "pooled")).body
    assert torch.equal(body.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])


def test_pretrained_weights_without_a_network_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as the variable HF_HUB_OFFLINE=1 does
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "/nowhere")
    spec = ImageEncoderSpec(kind="timm", backbone="resnet10t", height=32, width=32, weights="pretrained")
    with pytest.raises(WeightsError, match=r"Without that network: give image weights as a safetensors file"):
        build_image_encoder(spec, "pooled")
    build_image_encoder(spec, "pooled", with_weights=False)  # a trained model needs none of them


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ImageEncoderSpec(kind="timm", backbone="resnet9000"), "expected a name that timm"),
        (ImageEncoderSpec(kind="timm", backbone="resnet10t", stage=-6), "expected a map of resnet10t, found -6 of 5"),
        (ImageEncoderSpec(kind="timm", backbone="resnet10t", trainable="frozen"), "'fine-tuned' for random weights"),
        (ImageEncoderSpec(weights="pretrained"), "expected 'random' for the narrow-resnet"),
        (ImageEncoderSpec(kind="plain-cnn", backbone="resnet50"), "expected '' for the plain-cnn"),
        (ImageEncoderSpec(trainable="frozen"), "'fine-tuned' for random weights"),
    ],
)
def test_parts_that_do_not_fit_are_refused(spec: ImageEncoderSpec, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        build_image_encoder(spec, "pooled")


def test_a_backbone_that_nobody_named_is_a_resnet50_and_is_written_down() -> None:
    config = make_config({"data": {"path": "-"}, "image": {"kind": "timm", "height": 32, "width": 32}})
    assert 'backbone = "resnet50"' in encode_config(config).decode()
    encoder = build_image_encoder(config.image, "pooled")
    assert sum(weight.numel() for weight in encoder.parameters()) > 23e6
    assert ImageEncoderSpec().backbone == ""


def test_the_imagenet_weights_of_efficientnet_lite0_fit_and_see() -> None:
    if not LITE0.is_file():
        pytest.skip(f"no {LITE0.name} on this machine: it is not part of the project")
    spec = ImageEncoderSpec(
        kind="timm", backbone="tf_efficientnet_lite0", height=96, width=96, weights=str(LITE0), features=0
    )
    encoder = build_image_encoder(spec, "pooled").eval()
    assert encoder.shape == (1280,)
    assert torch.allclose(encoder.scale, torch.full((3,), 1 / 127.5))
    assert torch.allclose(encoder.mean, torch.full((3,), 127.5))
    y, x = np.mgrid[:96, :96]
    disc = np.where(((x - 48) ** 2 + (y - 48) ** 2 < 900)[:, :, None], [200, 40, 40], [40, 90, 40])
    stripes = np.where((x % 12 < 6)[:, :, None], 220, 20) * np.ones(3)
    pictures = np.stack((disc, np.clip(disc + 12, 0, 255), stripes)).astype(np.uint8)
    with torch.inference_mode():
        found = torch.nn.functional.normalize(encoder(torch.from_numpy(pictures)), dim=1)
    assert float(found[0] @ found[1]) > 0.9  # a little brighter is the same thing, stripes are another
    assert float(found[0] @ found[2]) < 0.6


def test_weights_that_the_hubs_client_keeps_are_used_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / ("models--" + timm.get_pretrained_cfg("resnet10t").hf_hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    kept = repository / "snapshots" / ("1" * 40)
    kept.mkdir(parents=True)
    weights = timm.create_model("resnet10t").state_dict()
    save_file(weights, kept / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    spec = ImageEncoderSpec(kind="timm", backbone="resnet10t", height=32, width=32, weights="pretrained")
    body = _inside(build_image_encoder(spec, "pooled")).body
    assert torch.equal(body.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])


def test_whether_the_hub_answers_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert is_hub_reachable()
    assert not is_hub_reachable()  # the port is closed now
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")  # which may reach it
    assert is_hub_reachable()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert not is_hub_reachable()
