"""Tokenizers, word vectors and BERT: what training reads is what serving reads, and files are what they say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
transformers = pytest.importorskip("transformers")

import huggingface_hub.constants  # noqa: E402 - the skips above come first

from stream_app.bundle.manifest import TextSpec  # noqa: E402
from stream_app.bundle.text import Tokenizer, normalize_text  # noqa: E402
from tests.export.folders import small_bert  # noqa: E402
from vigil_export.data.preparing.tokens import count_words, train_tokenizer, word_tokenizer  # noqa: E402
from vigil_export.models.encoders import SpecError, TextEncoderSpec, WeightsError, coverage, make_tokenizer  # noqa: E402
from vigil_export.models.encoders.vectors import file_width, file_words, load_vectors  # noqa: E402
from vigil_export.models.model import ModelSpec, build_model  # noqa: E402

TRAINING = ["Two men are fighting at the gate.", "A fire, a FIRE at the gate!", "大门口有人在打架", "café closed"]
TEXTS = [
    "Two men are fighting at the gate.",
    "大门口着火了\uff0c快来人",
    "fire 🔥🧯 at gate",
    "\uff26\uff29\uff32\uff25\u3000\uff01",  # full-width letters, blank and sign
    "",
    "   ",
    "café CAFÉ cafe\u0301",
    "[PAD] <pad> [CLS] [MASK] <unk>",
    "gate " * 3000,
    "打架" * 3000,
    "\ud800 half of a pair",
]
BOUNDS = TextSpec(max_tokens=12, pad_id=0)
VECTORS = {"fire": [1.0, 0.0, 2.0], "Gate": [0.0, 3.0, 1.0], "火": [5.0, 5.0, 5.0], ". . .": [9.0, 9.0, 9.0]}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


@pytest.fixture
def bert(tmp_path: Path) -> str:
    return str(small_bert(tmp_path / "bert"))


def _by_the_library(data: bytes, text: str) -> list[int]:
    """Tokens as Hugging Face's own library gives them for a text that was normalised before."""
    from tokenizers import Tokenizer as Library  # noqa: PLC0415

    library = Library.from_str(data.decode())
    library.encode_special_tokens = True
    library.enable_truncation(BOUNDS.max_tokens)
    return library.encode(normalize_text(text, BOUNDS)).ids or [0]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_serving_reads_every_text_as_the_tokenizer_was_trained_to(kind: str, text: str) -> None:
    data = {"bpe": train_tokenizer, "words": word_tokenizer}[kind](TRAINING, spec=BOUNDS, vocabulary=300)
    found = Tokenizer(data, BOUNDS).encode(text)
    assert list(found) == _by_the_library(data, text)
    assert 1 <= len(found) <= 12
    assert Tokenizer(data, BOUNDS).encode(normalize_text(text, BOUNDS)) == found


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_serving_reads_every_text_as_a_bert_was_trained_to(bert: str, text: str) -> None:
    data, bounds = make_tokenizer(TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=12), TRAINING)
    original = transformers.BertTokenizerFast.from_pretrained(bert)
    original.split_special_tokens = True  # serving takes a written "[MASK]" for text
    expected = original(normalize_text(text, bounds), truncation=True, max_length=12)["input_ids"]
    assert list(Tokenizer(data, bounds).encode(text)) == expected


def test_words_are_those_of_training_first_then_those_of_the_vectors() -> None:
    data = word_tokenizer(TRAINING, spec=BOUNDS, vocabulary=100, more=["Smoke", "fire", "two words", "U.S."])
    vocabulary = json.loads(data)["model"]["vocab"]
    by_number = sorted(vocabulary, key=vocabulary.__getitem__)
    assert by_number[:2] == ["<pad>", "<unk>"]
    assert set(by_number[2:7]) == {"a", "at", "fire", "gate", "the"}  # said twice each
    assert by_number[-1] == "smoke"
    assert "two words" not in vocabulary
    assert data == word_tokenizer(TRAINING, spec=BOUNDS, vocabulary=100, more=["Smoke", "fire", "two words", "U.S."])
    assert len(json.loads(word_tokenizer(TRAINING, spec=BOUNDS, vocabulary=6))["model"]["vocab"]) == 6


def _write(path: Path, *, header: bool) -> Path:
    rows = [f"{word} {' '.join(map(str, numbers))}" for word, numbers in VECTORS.items()]
    text = "\n".join([f"{len(rows)} 3", *rows] if header else rows) + "\n"
    if path.name.removesuffix(".gz").endswith(".bin"):
        entries = [
            word.encode() + b" " + np.array(n, "<f4").tobytes() for word, n in VECTORS.items() if " " not in word
        ]
        data = f"{len(entries)} 3\n".encode() + b"\n".join(entries)
    else:
        data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz", "fast.vec", "fast.vec.gz", "w2v.bin", "w2v.bin.gz"])
def test_vectors_are_read_from_every_form_of_file(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, header="vec" in name)
    found = load_vectors(path, ["fire", "gate", "smoke", "火"])
    assert {word: vector.tolist() for word, vector in found.items()} == {
        "fire": VECTORS["fire"],
        "gate": VECTORS["Gate"],  # in another case
        "火": VECTORS["火"],
    }
    assert file_width(path) == 3
    assert file_words(path, 2) == ["fire", "Gate"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("v.txt", b"fire 1 2 3\ngate 1 2\n", r"v\.txt:2: expected a word and 3 numbers"),
        ("v.txt", b"fire 1 2 x\n", r"v\.txt:1: expected a word"),
        ("v.txt", b"fire 1 2 nan\n", r"v\.txt:1: expected a word"),
        ("v.txt", b"smoke 1 2 3\n", "expected some of the 2 words of the vocabulary, found none"),
        (
            "v.txt",
            b"fire\t1\t2\n",
            r"v\.txt:1: expected a word and its numbers with blanks between them, found 'fire.t1",
        ),
        ("v.vec", b"3 2\nfire 1 2\ngate 1 2\n", r"v\.vec: expected 3 words, as its first line says, found 2"),
        (
            "v.vec.gz",
            gzip.compress(b"2 2\nfire 1 2\n", mtime=0),
            r"v\.vec\.gz: expected 2 words, as its first line says, found 1",
        ),
        ("v.txt.gz", b"no gzip", "cannot be read"),
        ("v.txt.gz", gzip.compress(b"fire 1 2 3\n" * 99, mtime=0)[:30], "cannot be read"),
        ("v.bin", b"2 3\nfire " + bytes(12), "expected 2 words, found no whole word after 1"),
        ("v.bin", b"<html>", "expected the numbers of words and dimensions"),
        ("v.bin", (793712314).to_bytes(4, "little") + bytes(20), "fastText's own; use its .vec"),
        ("v.npy", b"", "expected a .txt, .vec or .bin file"),
    ],
)
def test_other_files_are_refused_with_the_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        load_vectors(tmp_path / name, ["fire", "gate"])


def test_the_first_words_of_a_file_are_read_without_the_rest(tmp_path: Path) -> None:
    (tmp_path / "v.vec").write_bytes(b"3 2\nfire 1 2\ngate 1 2\n")
    assert file_words(tmp_path / "v.vec", 1) == ["fire"]
    assert file_width(tmp_path / "v.vec") == 2


def test_coverage_counts_words_and_their_uses() -> None:
    counts = count_words(TRAINING, spec=BOUNDS)
    assert counts["fire"] == 2
    assert counts["大"] == 1
    found = coverage({"fire": 6, "gate": 3, "smok": 1}, {"fire", "gate"})
    assert (found.words, found.known, found.uses, found.known_uses, found.missing) == (3, 2, 10, 9, ("smok",))
    assert str(found) == "vectors for 2 of 3 words (66.7%), 90.0% of all uses; most frequent without: smok"


@pytest.mark.parametrize("trainable", ["frozen", "fine-tuned"])
def test_word_vectors_begin_an_embedding_and_learn_only_where_they_may(tmp_path: Path, trainable: Any) -> None:  # noqa: ANN401
    path = _write(tmp_path / "glove.txt", header=False)
    text = TextEncoderSpec(vectors=str(path), trainable=trainable, vocabulary=60, max_tokens=12)
    data, bounds = make_tokenizer(text, TRAINING)
    spec = ModelSpec(labels=("fire",), text=text)
    with pytest.raises(SpecError, match="expected the tokenizer as well"):
        build_model(spec)
    model = build_model(spec, tokenizer=data)
    fire = Tokenizer(data, bounds).encode("Fire")[0]
    assert model.text.get_parameter("embed.weight")[fire].tolist() == VECTORS["fire"]
    assert model.text.known_words == {"fire", "gate", "火"} & set(json.loads(data)["model"]["vocab"])
    assert model.spec.text.embedding == 3
    assert model.text.get_parameter("embed.weight").requires_grad == (trainable == "fine-tuned")
    path.unlink()  # a trained model comes from its run alone
    again = build_model(model.spec, with_weights=False)
    again.load_state_dict(model.state_dict())


def test_word_vectors_are_put_in_alike_in_whatever_order_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    lines = (f"{word} {' '.join(f'{value:.6f}' for value in rng.normal(0, 3, 7))}\n" for word in words)
    (tmp_path / "v.txt").write_text("".join(lines))
    text = TextEncoderSpec(vectors=str(tmp_path / "v.txt"), vocabulary=60, max_tokens=12)
    data, _ = make_tokenizer(text, [" ".join(words), "without a vector"])
    found = []
    for turn in (1, -1):
        monkeypatch.setattr(
            "vigil_export.models.encoders.build.load_vectors",
            lambda path, ids, turn=turn: dict(list(load_vectors(path, sorted(ids)).items())[::turn]),
        )
        torch.manual_seed(1)
        model = build_model(ModelSpec(labels=("fire",), text=text), tokenizer=data)
        found.append(model.text.get_parameter("embed.weight").detach().numpy().tobytes())
    assert found[0] == found[1]


def test_a_bert_gives_its_states_and_is_built_again_from_its_spec_alone(bert: str) -> None:
    text = TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=12, features=0, trainable="staged")
    model = build_model(ModelSpec(labels=("fire",), text=text)).eval()
    original = transformers.BertModel.from_pretrained(bert).eval()
    tokens, length = torch.randint(0, 20, (2, 7)), torch.tensor([7, 4])
    with torch.inference_mode():
        states = original(tokens, attention_mask=(torch.arange(7)[None] < length[:, None]).long()).last_hidden_state
        expected = torch.stack([states[0].mean(0), states[1, :4].mean(0)])
        assert torch.allclose(model.encode_texts(tokens, length), expected, atol=1e-5)
    assert not any(weight.requires_grad for weight in model.text.get_submodule("body").parameters())
    assert model.text.stage_count == 3
    model.text.thaw(1)
    learns = {name for name, weight in model.text.named_parameters() if weight.requires_grad}
    assert {name.split(".layer.")[1][0] for name in learns} == {"1"}
    (Path(bert) / "config.json").unlink()
    assert bert not in model.spec.text.config
    again = build_model(model.spec, with_weights=False).eval()
    again.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.encode_texts(tokens, length), model.encode_texts(tokens, length))


def test_a_bert_that_cannot_be_had_says_what_to_do(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as the variable HF_HUB_OFFLINE=1 does
    for name in ("no-such-model", str(Path(bert).parent)):
        spec = TextEncoderSpec(kind="bert", pretrained=name, max_tokens=12)
        with pytest.raises(WeightsError, match=r"Without that network: give a folder with config\.json"):
            build_model(ModelSpec(labels=("fire",), text=spec))
        with pytest.raises(WeightsError, match=r"give a folder"):
            make_tokenizer(spec, [])
    (Path(bert) / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"give a folder"):
        build_model(ModelSpec(labels=("fire",), text=TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=12)))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (TextEncoderSpec(kind="bert"), "expected a folder or a hub name"),
        (TextEncoderSpec(kind="lstm", pretrained="x"), "expected nothing for the lstm"),
        (TextEncoderSpec(kind="transformer", width=10, heads=4), "multiple of the 4 heads"),
        (TextEncoderSpec(trainable="frozen"), "'fine-tuned' for random weights"),
    ],
)
def test_parts_that_do_not_fit_are_refused(spec: TextEncoderSpec, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        build_model(ModelSpec(labels=("fire",), text=spec))


def test_a_bert_reads_no_more_tokens_than_it_can(bert: str) -> None:
    spec = TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=25)
    with pytest.raises(SpecError, match="at most the 24"):
        build_model(ModelSpec(labels=("fire",), text=spec))


def test_a_roberta_has_no_positions_for_the_tokens_before_its_first(bert: str) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.RobertaConfig(vocab_size=24, max_position_embeddings=26, pad_token_id=1, **sizes)
    transformers.RobertaModel(config).save_pretrained(bert)
    text = TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=24)
    model = build_model(ModelSpec(labels=("fire",), text=text))
    assert model.encode_texts(torch.full((1, 24), 7), torch.tensor([24])).isfinite().all()
    with pytest.raises(SpecError, match="at most the 24"):
        build_model(ModelSpec(labels=("fire",), text=TextEncoderSpec(kind="bert", pretrained=bert, max_tokens=25)))
