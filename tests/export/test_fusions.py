"""Fusion heads: every one scores any batch, and a side that is absent has no influence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")

if TYPE_CHECKING:
    from torch import Tensor

from vigil_export.models.fusions import FUSIONS, FusionKind, FusionSpec  # noqa: E402 - the skips above come first
from vigil_export.models.fusions.bilinear import BilinearHead  # noqa: E402
from vigil_export.models.fusions.decision import DecisionHead  # noqa: E402
from vigil_export.models.fusions.gated import GatedHead  # noqa: E402
from vigil_export.models.fusions.head import FusionHead  # noqa: E402

IMAGE = {"pooled": (12,), "tokens": (6, 12)}
TEXT = {"pooled": (10,), "tokens": (5, 11)}
Sides = tuple["Tensor", "Tensor"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)


def _head(kind: FusionKind, **options: object) -> FusionHead:
    spec = FusionSpec(kind=kind, width=8, heads=2, layers=2, rank=3, **options)  # type: ignore[arg-type]
    form = FUSIONS[kind].FORM
    return FUSIONS[kind](IMAGE[form], TEXT[form], 3, spec).eval()


def _features(kind: FusionKind, rows: int = 4) -> Sides:
    form = FUSIONS[kind].FORM
    text = torch.randn(rows, *TEXT[form])
    if form == "tokens":  # rows of 1, 2, ... real tokens
        is_real = torch.arange(text.shape[1])[None] <= torch.arange(rows)[:, None] % text.shape[1]
        text = torch.where(is_real[:, :, None], text, 0.0)
        text[:, :, -1] = is_real.float()
    return torch.randn(rows, *IMAGE[form]), text


def _flags(image: float, text: float) -> Sides:
    return torch.full((4,), image), torch.full((4,), text)


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("flags", [(0, 1), (1, 0), (0, 0)])
def test_what_stands_in_the_features_of_an_absent_side_changes_no_bit(kind: FusionKind, flags: tuple[int, int]) -> None:
    head = _head(kind)
    image, text = _features(kind)
    with torch.inference_mode():
        expected = head(image, text, *_flags(*flags))
        for other in (torch.nan, 1e9, 0.0):
            changed = (
                image if flags[0] else torch.full_like(image, other),
                text if flags[1] else torch.full_like(text, other),
            )
            assert torch.equal(head(*changed, *_flags(*flags)), expected)
    assert torch.isfinite(expected).all()


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_side_that_is_present_counts_unless_the_head_is_of_the_other_side_alone(kind: FusionKind) -> None:
    head = _head(kind)
    (image, text), (image_2, text_2) = _features(kind), _features(kind)
    if FUSIONS[kind].FORM == "tokens":
        text_2[:, :, -1] = text[:, :, -1]
    with torch.inference_mode():
        both, other_image, other_text = (
            head(*sides, *_flags(1, 1)) for sides in ((image, text), (image_2, text), (image, text_2))
        )
    assert torch.equal(both, other_image) == (head.LOOKS_AT == "text")
    assert torch.equal(both, other_text) == (head.LOOKS_AT == "image")


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_row_does_not_depend_on_the_presence_of_its_neighbours(kind: FusionKind) -> None:
    head = _head(kind)
    image, text = _features(kind)
    flags = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    with torch.inference_mode():
        mixed = head(image, text, *flags)
        for row in range(4):
            alone = head(image, text, *_flags(flags[0][row], flags[1][row]))[row]
            assert torch.allclose(mixed[row], alone, atol=1e-6)


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_weight_learns_when_rows_with_and_without_each_side_are_seen(kind: FusionKind) -> None:
    head = _head(kind, dropout=0.0).train()
    image, text = _features(kind)
    flags = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    head(image, text, *flags).square().sum().backward()
    still = [name for name, weight in head.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("rule", ["average", "weighted", "stack", "saturating"])
def test_two_decisions_are_joined_by_their_rule_and_one_alone_stands(rule: str) -> None:
    head = _head("decision", rule=rule)
    assert isinstance(head, DecisionHead)
    image, text = _features("decision")
    with torch.inference_mode():
        if rule == "weighted":
            head.balance.copy_(torch.tensor([-1.0, 0.0, 2.0]))
        seen, read = head.classify_image(image), head.classify_text(text)
        share = torch.sigmoid(torch.tensor([-1.0, 0.0, 2.0]))
        expected = {
            "average": (seen + read) / 2,
            "weighted": share * seen + (1 - share) * read,
            "stack": seen + read,
            "saturating": seen + 2 * torch.tanh(read / 2),
        }
        assert torch.allclose(head(image, text, *_flags(1, 1)), expected[rule], atol=1e-6)
        assert torch.equal(head(image, text, *_flags(1, 0)), seen)
        assert torch.equal(head(image, text, *_flags(0, 1)), read)


def test_a_gate_of_a_lone_side_takes_it_whole() -> None:
    head = _head("gated")
    assert isinstance(head, GatedHead)
    image, text = _features("gated")
    with torch.inference_mode():
        assert torch.allclose(head(image, text, *_flags(1, 0)), head.out(torch.tanh(head.image(image))), atol=1e-6)
        assert torch.allclose(head(image, text, *_flags(0, 1)), head.out(torch.tanh(head.text(text))), atol=1e-6)


def test_the_low_rank_product_is_a_bilinear_form_of_features_and_a_one() -> None:
    head = _head("bilinear")
    assert isinstance(head, BilinearHead)
    image, text = _features("bilinear")
    one = torch.ones(4, 1)
    left = torch.cat((head.image.weight, head.image.bias[:, None]), 1).reshape(3, 8, -1)
    right = torch.cat((head.text.weight, head.text.bias[:, None]), 1).reshape(3, 8, -1)
    weights = torch.einsum("rwi,rwj,rk->wij", left, right, head.weigh)
    whole = torch.einsum("bi,wij,bj->bw", torch.cat((image, one), 1), weights, torch.cat((text, one), 1))
    assert torch.allclose(head(image, text, *_flags(1, 1)), head.classify(whole), atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_tokens_that_are_not_marked_as_real_have_no_influence(kind: FusionKind) -> None:
    head = _head(kind)
    image, text = _features(kind)
    noise = torch.randn_like(text)
    noise[:, :, -1] = 0.0
    noisy = torch.where(text[:, :, -1:] > 0.5, text, noise)
    with torch.inference_mode():
        assert torch.equal(head(image, text, *_flags(1, 1)), head(image, noisy, *_flags(1, 1)))
