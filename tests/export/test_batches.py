"""Batches and losses of training: every row once, every picture and text once a batch, and what a loss counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from stream_app.bundle.manifest import TextSpec  # noqa: E402
from stream_app.bundle.text import Tokenizer  # noqa: E402
from vigil_export.data import NO_IMAGE, Split  # noqa: E402 - the skips above come first
from vigil_export.data.preparing.augment import AugmentSpec  # noqa: E402
from vigil_export.data.preparing.augment_text import TextAugmentSpec, TextChanges  # noqa: E402
from vigil_export.data.preparing.tokens import train_tokenizer  # noqa: E402
from vigil_export.training.batches import Batches  # noqa: E402
from vigil_export.training.losses import class_weights, row_losses  # noqa: E402


def _split(image_of: list[int]) -> Split:
    n = len(image_of)
    return Split(
        images=np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((9, 2, 2, 3), np.uint8),
        image_of=np.array(image_of, np.int64),
        texts=tuple("" if row % 4 == 1 else "text" * (1 + row % 3) for row in range(n)),
        truth=np.zeros((n, 1), np.float32),
        groups=np.arange(n),
        sequences=np.full(n, -1, np.int64),
        ids=tuple(map(str, range(n))),
        facets={},
    )


@pytest.mark.parametrize("image_of", [[0, 1, 2, 3], [0, 0, 0, 0, 0, 0, 0, 1, NO_IMAGE, 8, NO_IMAGE], [NO_IMAGE] * 5])
@pytest.mark.parametrize("batch", [2, 3, 50])
def test_every_row_comes_once_with_its_own_sides_each_picture_and_text_once_a_batch(
    image_of: list[int], batch: int
) -> None:
    text, split = TextSpec(max_tokens=8, pad_id=0), _split(image_of)
    tokenizer = Tokenizer(train_tokenizer(["text"], spec=text, vocabulary=260), text)
    batches = Batches(split, tokenizer, text, batch=batch)
    shuffled = list(batches.shuffled(np.random.default_rng(1), None))
    assert batches.count(np.random.default_rng(1)) == len(shuffled)
    for found in (list(batches.in_order()), shuffled):
        assert sorted(row for one in found for row in one.rows.tolist()) == list(range(len(image_of)))
        for one in found:
            assert len(one.rows) <= batch
            assert len(torch.unique(one.images[:, 0, 0, 0])) == len(one.images)
            assert len(one.tokens) == len({split.texts[row] for row in one.rows})
            for row, place in zip(one.rows, one.text_of, strict=True):
                read = tuple(one.tokens[place, : one.length[place]].tolist())
                assert read == (tokenizer.encode(split.texts[row]) if split.texts[row] else (0,))
            for row, place, has in zip(one.rows, one.image_of, one.has_image, strict=True):
                assert bool(has) == (image_of[row] != NO_IMAGE)
                assert not has or int(one.images[place, 0, 0, 0]) == image_of[row]


def test_training_texts_are_changed_anew_in_every_batch_and_those_of_validation_never() -> None:
    text, split = TextSpec(max_tokens=30, pad_id=0), _split([0, 1, 2, 3, 4, 5])
    data = train_tokenizer(["text"], spec=text, vocabulary=260)
    batches = Batches(split, Tokenizer(data, text), text, batch=6)
    words = TextChanges(TextAugmentSpec(pieces=0, noise=1), data, text)
    rng = np.random.default_rng(3)
    first, *others = (next(batches.shuffled(rng, None, words)) for _ in range(8))
    again = next(batches.shuffled(np.random.default_rng(3), None, words))
    assert torch.equal(first.tokens, again.tokens)
    assert len({tuple(one.tokens.flatten().tolist()) for one in (first, *others)}) > 4
    empty = [int(place) for row, place in zip(first.rows, first.text_of, strict=True) if not split.texts[row]]
    assert first.length[empty].tolist() == [1] * len(empty)
    assert len({tuple(one.tokens.flatten().tolist()) for one in (next(batches.in_order()) for _ in range(2))}) == 1


def test_focal_loss_is_cross_entropy_at_zero_and_looks_away_from_what_is_easy() -> None:
    logits, truth = torch.tensor([[3.0], [-3.0], [0.0]]), torch.tensor([[1.0], [1.0], [1.0]])
    plain = row_losses(logits, truth, task="binary")
    torch.testing.assert_close(plain, torch.nn.functional.softplus(-logits)[:, 0])
    shares = row_losses(logits, truth, task="binary", gamma=2.0) / plain
    torch.testing.assert_close(shares, (1 - torch.sigmoid(logits[:, 0])) ** 2)
    classes, target = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    expected = torch.nn.functional.cross_entropy(classes, torch.tensor([2]))
    torch.testing.assert_close(row_losses(classes, target, task="multiclass")[0], expected)


def test_class_weights_let_every_class_count_the_same() -> None:
    truth = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 2, 2]]
    weights = class_weights(truth, "multiclass").numpy()
    np.testing.assert_allclose(weights * truth.sum(0), [8 / 3] * 3, rtol=1e-6)
    having = class_weights(truth[:, :1], "binary").numpy()
    np.testing.assert_allclose(having * truth[:, 0].sum(), 4)


def test_a_label_that_every_row_has_still_counts_a_little() -> None:
    assert class_weights(np.ones((4, 1), np.float32), "binary").tolist() == [pytest.approx(1e-3)]


def test_no_picture_is_mirrored_that_a_text_tells_left_from_right_of() -> None:
    text, split = TextSpec(max_tokens=8, pad_id=0), _split([0, 1, 1, 2])
    images = split.images.copy()
    images[:, :, 0] = 200  # the left column
    split = replace(split, images=images, texts=("a man", "a man", "a man on the left", ""))
    batches = Batches(split, Tokenizer(train_tokenizer(["text"], spec=text, vocabulary=260), text), text, batch=4)
    flips = AugmentSpec(flip=1, exposure=0, night=0, occlusion=0, blur=0, noise=0, jpeg=0)
    (batch,) = batches.shuffled(np.random.default_rng(1), flips)
    is_mirrored = (batch.images[:, 0, 1, 0] == 200)[batch.image_of]
    assert dict(zip(batch.rows.tolist(), is_mirrored.tolist(), strict=True)) == {0: True, 1: False, 2: False, 3: True}
