"""Image backbones of timm (Wightman 2019, github.com/huggingface/pytorch-image-models): pictures in, features out.

Shapes: `b` batch, `h` height, `w` width, `c` channels of a map, `s` cells, `d` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from timm.models import group_parameters
from torch import Tensor

from vigil_export.models.encoders.encoder import TwoPartEncoder
from vigil_export.models.encoders.image import MapEnd
from vigil_export.models.encoders.pooling import GuidedEnd, OwnEnd
from vigil_export.models.encoders.spec import ImageEncoderSpec, SpecError
from vigil_export.models.encoders.weights import WeightsError, hub_errors, is_hub_reachable, load_file
from vigil_export.models.layers import Form


class TimmEncoder(TwoPartEncoder):
    """A backbone of timm with its own normalisation of pixels inside.

    Pooled without a `stage`, it gives the backbone's own pooled output; with one, mean and maximum of that map; or as
    `pooling` says. The token form gives the cells of a map (the patches of a vision transformer).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: ImageEncoderSpec, form: Form = "pooled", *, with_weights: bool = True) -> None:
        """Build it.

        Args:
            spec: `backbone`, `weights`, `height`, `width`, `features`, `stage` and `grid` count.
            form: Of the features.
            with_weights: Load the pretrained weights; without, they are random, to be overwritten by trained ones.

        Raises:
            SpecError: timm knows no such backbone, or it gives no such map.
            WeightsError: The weights cannot be had or do not fit.
        """
        super().__init__(form)
        self.body = _backbone(spec, weights=spec.weights if with_weights else "random")
        normal = self.body.pretrained_cfg
        # One product and one sum: (pixel / 255 - mean) / deviation.
        self.register_buffer("scale", 1 / (255 * torch.tensor(normal["std"])))
        self.register_buffer("mean", 255 * torch.tensor(normal["mean"]))
        self.taken: list[int] = []
        self.end, self.shape = self._make_end(spec, form)
        stages = group_parameters(self.body, self.body.group_matcher(coarse=True))
        named = dict(self.body.named_parameters())
        self.set_stages([[named[name] for name in stages[key] if name in named] for key in sorted(stages)])

    def _make_end(self, spec: ImageEncoderSpec, form: Form) -> tuple[torch.nn.Module, tuple[int, ...]]:
        """Return what comes behind the backbone, and the shape of the features."""
        if spec.pooling != "own":
            self.taken = self._cut_behind(spec, spec.maps)
            shapes = [tuple(one.shape[1:]) for one in self._try(spec)]
            pool = GuidedEnd([shape[0] for shape in shapes], [(shape[1], shape[2]) for shape in shapes], spec.features)
            return pool, pool.shape
        if form == "tokens" or spec.stage:
            self.taken = self._cut_behind(spec, (spec.stage or -1,))
            channels, *size = self._try(spec)[0].shape[1:]
            end = MapEnd(channels, (size[0], size[1]), spec, form)
            return end, end.shape
        own = OwnEnd(self._try(spec)[0].shape[1], spec.features)
        return own, own.shape

    def _cut_behind(self, spec: ImageEncoderSpec, wanted: Sequence[int]) -> list[int]:
        """Remove what lies behind the maps that are asked for; return their numbers."""
        count = len(self.body.feature_info)
        for one in wanted:
            if not hasattr(self.body, "forward_intermediates") or not -count <= one < count:
                found = f"{count} maps" if hasattr(self.body, "forward_intermediates") else "none that it exposes"
                raise SpecError(f"image.stage: expected a map of {spec.backbone}, found {one} of {found}")
        numbers = sorted({one % count for one in wanted})
        return [int(one) for one in self.body.prune_intermediate_layers(numbers, prune_norm=False, prune_head=True)]

    def _try(self, spec: ImageEncoderSpec) -> list[Tensor]:
        """Return what the backbone gives for a black picture."""
        self.body.eval()
        with torch.no_grad():
            found = self._run(torch.zeros(1, 3, spec.height, spec.width))
        self.body.train()
        return found

    def _run(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps that are asked for, [b, c, h, w] each, or the backbone's own pooled output."""
        if self.taken:
            return self.body.forward_intermediates(  # type: ignore[no-any-return]
                pixels, indices=self.taken, norm=True, output_fmt="NCHW", intermediates_only=True
            )
        return [self.body.forward_head(self.body.forward_features(pixels), pre_logits=True)]

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return what the backbone gives, before pooling: uint8 [b, h, w, 3] -> as `_run`."""
        pixels = (image.to(torch.float32) - self.mean) * self.scale
        return self._run(pixels.permute(0, 3, 1, 2))

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            image: uint8 [b, h, w, 3], RGB.

        Returns:
            float32 [b, d] or [b, s, d].
        """
        return self.finish(self.gather(image))

    def gather(self, *inputs: Tensor) -> Tensor:
        """Do what needs no weights but the backbone's: uint8 [b, h, w, 3] -> float32 [b, ...], as the end gathers."""
        maps = self.maps(inputs[0])
        return self.end.gather(maps[0] if isinstance(self.end, MapEnd) else maps)  # type: ignore[no-any-return, operator]

    def finish(self, gathered: Tensor, *rest: Tensor) -> Tensor:
        """Do the rest: what `gather` gives -> float32 [b, d] or [b, s, d]."""
        del rest
        return self.end.finish(gathered)  # type: ignore[no-any-return, operator]


def _backbone(spec: ImageEncoderSpec, *, weights: str) -> Any:  # noqa: ANN401 - timm has no types
    normal = timm.get_pretrained_cfg(spec.backbone, allow_unregistered=True) if spec.backbone else None
    if normal is None or not timm.is_model(spec.backbone):
        raise SpecError(
            f"image.backbone: expected a name that timm {timm.__version__} knows, found {spec.backbone!r}; "
            "timm.list_models('*resnet*') lists them"
        )
    options: dict[str, Any] = {"num_classes": 0}
    if normal.fixed_input_size:
        options["img_size"] = (spec.height, spec.width)
    if weights == "pretrained":
        return _from_hub(spec.backbone, normal, options)
    body = timm.create_model(spec.backbone, pretrained=False, **options)
    if weights != "random":
        classifiers = normal.classifier or ()
        names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
        load_file(body, Path(weights), leave_out=names)
    return body


def _from_hub(backbone: str, normal: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 - timm has no types
    instead = "give image weights as a safetensors file in timm's names (--image-weights FILE), or `random`"
    with hub_errors(backbone, instead=instead):
        if not is_hub_reachable():
            name = "model.safetensors"
            kept = huggingface_hub.try_to_load_from_cache(normal.hf_hub_id, name) if normal.hf_hub_id else None
            if not isinstance(kept, str):
                raise OSError("the hub does not answer, and this machine has no copy")
            options = {**options, "pretrained_cfg_overlay": {"file": kept}}
        try:
            return timm.create_model(backbone, pretrained=True, **options)
        except AssertionError as error:
            raise WeightsError(f"weights of {backbone}: timm has none: {error}") from error
