"""Image backbones of timm (Wightman 2019, github.com/huggingface/pytorch-image-models): pictures in, features out.

Shapes: `b` batch, `h` height, `w` width, `c` channels of a map, `s` cells, `d` features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from timm.models import group_parameters
from torch import Tensor

from export.encoders.encoder import Encoder
from export.encoders.image import MapEnd
from export.encoders.spec import ImageEncoderSpec, SpecError
from export.encoders.weights import WeightsError, hub_errors, is_hub_reachable, load_file
from export.layers import Form, projection


class TimmEncoder(Encoder):
    """A backbone of timm with its own normalisation of pixels inside.

    Pooled without a `stage`, it gives the backbone's own pooled output; with one, mean and maximum of that map. The
    token form gives the cells of a map (the patches of a vision transformer).
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
        self.takes_map = form == "tokens" or spec.stage < 0
        if self.takes_map:
            self.stage = self._cut_behind(spec)
            channels, *size = self._try(spec)
            self.end: torch.nn.Module = MapEnd(channels, (size[0], size[1]), spec, form)
            self.shape = self.end.shape
        else:
            (width,) = self._try(spec)
            self.end = projection(width, spec.features)
            self.shape = (spec.features or width,)
        stages = group_parameters(self.body, self.body.group_matcher(coarse=True))
        named = dict(self.body.named_parameters())
        self.set_stages([[named[name] for name in stages[key] if name in named] for key in sorted(stages)])

    def _cut_behind(self, spec: ImageEncoderSpec) -> int:
        """Remove what lies behind the map that is asked for; return the number of the map."""
        wanted = spec.stage or -1
        count = len(self.body.feature_info)
        if not hasattr(self.body, "forward_intermediates") or wanted < -count:
            found = f"{count} maps" if hasattr(self.body, "forward_intermediates") else "none that it gives away"
            raise SpecError(f"image.stage: expected a map of {spec.backbone}, found {wanted} of {found}")
        taken = self.body.prune_intermediate_layers([wanted % count], prune_norm=False, prune_head=True)
        return int(taken[0])

    def _try(self, spec: ImageEncoderSpec) -> tuple[int, ...]:
        """Return the shape of what the backbone gives for a picture."""
        self.body.eval()
        with torch.no_grad():
            found = self._run(torch.zeros(1, 3, spec.height, spec.width))
        self.body.train()
        return tuple(found.shape[1:])

    def _run(self, pixels: Tensor) -> Tensor:
        if self.takes_map:
            maps: list[Tensor] = self.body.forward_intermediates(
                pixels, indices=[self.stage], norm=True, output_fmt="NCHW", intermediates_only=True
            )
            return maps[0]  # [b, c, h, w]
        return self.body.forward_head(self.body.forward_features(pixels), pre_logits=True)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            image: uint8 [b, h, w, 3], RGB.

        Returns:
            float32 [b, d] or [b, s, d].
        """
        pixels = (image.to(torch.float32) - self.mean) * self.scale
        return self.end(self._run(pixels.permute(0, 3, 1, 2)))  # type: ignore[no-any-return]


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
