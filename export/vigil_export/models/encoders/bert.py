"""Pretrained text encoders of the BERT family (Devlin et al. 2019, arXiv:1810.04805), through transformers.

In: a local folder or a name on the Hugging Face hub. Out: an encoder, its configuration, its tokenizer. Only
safetensors are read, no pickles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from vigil_export.models.encoders.encoder import TwoPartEncoder, is_real_token
from vigil_export.models.encoders.spec import SpecError, TextEncoderSpec
from vigil_export.models.encoders.text_end import TextEnd
from vigil_export.models.encoders.weights import hub_errors, is_hub_reachable
from vigil_export.models.layers import Form, mean_of_real

_INSTEAD = "give a folder with config.json, model.safetensors and tokenizer.json (or vocab.txt)"


class BertEncoder(TwoPartEncoder):
    """The last states of a pretrained encoder; pooled as the mean of the real tokens, which suits all of the family."""

    def __init__(self, spec: TextEncoderSpec, form: Form = "pooled", *, with_weights: bool = True) -> None:
        """Build it.

        Args:
            spec: `pretrained`, `config` (from `read_config`), `features` and `max_tokens` count.
            form: Of the features.
            with_weights: Load the pretrained weights.

        Raises:
            SpecError: It cannot read as many tokens.
            WeightsError: The weights cannot be had.
        """
        super().__init__(form)
        content = json.loads(spec.config)
        config = AutoConfig.for_model(content.pop("model_type"), **content)
        # "eager": attention in plain operators, which the exporter writes at every opset.
        options: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
        if with_weights:
            transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one for a file on the disk
            with hub_errors(spec.pretrained, instead=_INSTEAD):
                self.body = AutoModel.from_pretrained(
                    spec.pretrained, use_safetensors=True, **options, **_place(spec.pretrained)
                )
        else:
            self.body = AutoModel.from_config(config, **options)  # type: ignore[no-untyped-call]
        if hasattr(self.body, "pooler"):
            self.body.pooler = None  # trained for another task; the mean is taken instead
        longest = _longest(self.body, config)
        if spec.max_tokens > longest:
            raise SpecError(
                f"text.max_tokens: expected at most the {longest} that {spec.pretrained} can read, found "
                f"{spec.max_tokens}"
            )
        self.end = TextEnd(config.hidden_size, spec, form)
        self.shape = self.end.shape
        self.set_stages(_stages(self.body, config.num_hidden_layers))

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts: int64 [b, t], int64 [b] -> float32 [b, d], or [b, max_tokens, d + 1] as `TextEnd` says."""
        return self.finish(self.gather(tokens, length), length)

    def gather(self, *inputs: Tensor) -> Tensor:
        """Do what needs no weights but the pretrained ones: int64 [b, t], int64 [b] -> float32 [b, t, c]."""
        tokens, length = inputs
        is_real = is_real_token(tokens, length)
        states = self.body(input_ids=tokens, attention_mask=is_real.to(torch.int64))
        return states.last_hidden_state  # type: ignore[no-any-return]

    def finish(self, gathered: Tensor, *rest: Tensor) -> Tensor:
        """Do the rest: what `gather` gives, int64 [b] -> as `forward`."""
        is_real = is_real_token(gathered[:, :, 0], rest[0])
        return self.end(gathered if self.form == "tokens" else mean_of_real(gathered, is_real), is_real)  # type: ignore[no-any-return]


def _longest(body: nn.Module, config: Any) -> int:  # noqa: ANN401 - each model has a class of its own
    """Return how many tokens it has positions for: RoBERTa and its kin count theirs from behind the padding token."""
    for name, module in body.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return int(config.max_position_embeddings)


def _stages(body: nn.Module, layers: int) -> list[list[nn.Parameter]]:
    """Part the weights: embeddings and all else, then layer by layer."""
    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList) and len(module) == layers]
    stages = [list(layer.parameters()) for layer in lists[0]] if lists else []
    placed = {id(weight) for stage in stages for weight in stage}
    return [[weight for weight in body.parameters() if id(weight) not in placed], *stages]


def read_config(pretrained: str) -> str:
    """Return the configuration of a pretrained encoder as JSON, without where it lay.

    Args:
        pretrained: Folder or hub name.

    Raises:
        WeightsError: It cannot be had.
    """
    with hub_errors(pretrained, instead=_INSTEAD):
        config = AutoConfig.from_pretrained(pretrained, **_place(pretrained))
    content = {key: value for key, value in config.to_diff_dict().items() if key not in {"_name_or_path", "dtype"}}
    return json.dumps({**content, "model_type": config.model_type, "vocab_size": config.vocab_size}, sort_keys=True)


def read_tokenizer(pretrained: str) -> tuple[bytes, int]:
    """Return the tokenizer that belongs to a pretrained encoder.

    Args:
        pretrained: Folder or hub name.

    Returns:
        The bytes of tokenizer.json, and the id of its padding token.

    Raises:
        WeightsError: It cannot be had.
    """
    with hub_errors(pretrained, instead=_INSTEAD):
        tokenizer = AutoTokenizer.from_pretrained(pretrained, use_fast=True, **_place(pretrained))
    return tokenizer.backend_tokenizer.to_str().encode(), int(tokenizer.pad_token_id or 0)


def _place(pretrained: str) -> dict[str, bool]:
    return {"local_files_only": Path(pretrained).is_dir() or not is_hub_reachable()}
