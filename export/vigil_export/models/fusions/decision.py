"""Decision level: each side is classified by itself, then the two decisions are averaged, weighted or stacked.

Late fusion as in Snoek et al. 2005 ("Early versus late fusion in semantic video analysis", ACM Multimedia); stacking
after Wolpert 1992 ("Stacked generalization", Neural Networks 5). With few rows it beats the fusions of features.

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import classifier, present_or


class DecisionHead(FusionHead):
    """Logits of the picture, logits of the text, and a rule for both. A side that is alone decides alone.

    - `average`: the mean of the two logits.
    - `weighted`: w * image + (1 - w) * text with a learned w of each label within 0 and 1.
    - `stack`: a learned linear layer over both sides' logits; it begins as their sum.
    - `saturating`: bias + w * image + g * tanh(a * text + c), learned for each label. A report that is right in three
      of four cases is worth at most log 3, however violent its words are: g becomes that. It begins close to the sum.

    With `width` 0 each side is a logistic regression: the stack of two such is what a few hundred rows can carry.
    Without both sides the logits are 0.

    Attributes:
        classify_image: Features of the picture -> its logits.
        classify_text: Features of the text -> its logits.
        stack: [image logits; text logits] -> logits; with the rule `stack` alone.
        balance: float32 [L], the logit of w; with the rule `weighted` alone.
        saturate: float32 [5, L]: bias, w, g, a, c; with the rule `saturating` alone.
    """

    saturate: nn.Parameter

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `rule`, `width` (0: linear) and `dropout` count."""
        super().__init__()
        self.rule = spec.rule
        self.classify_image = classifier(image_shape[0], labels, width=spec.width, dropout=spec.dropout)
        self.classify_text = classifier(text_shape[0], labels, width=spec.width, dropout=spec.dropout)
        if spec.rule == "weighted":
            self.balance = nn.Parameter(torch.zeros(labels))
        if spec.rule == "saturating":
            begin = torch.tensor((0.0, 1.0, 2.0, 0.5, 0.0))  # 2 tanh(x / 2) is close to x
            self.saturate = nn.Parameter(begin[:, None].repeat(1, labels))
        if spec.rule == "stack":
            self.stack = nn.Linear(2 * labels, labels)
            with torch.no_grad():
                self.stack.weight.copy_(torch.eye(labels).repeat(1, 2))
                self.stack.bias.zero_()

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        image, text = self.classify_image(image_features), self.classify_text(text_features)  # [b, L] each
        return self.judge(image, text, image_present, text_present)

    def judge(self, image: Tensor, text: Tensor, image_present: Tensor, text_present: Tensor) -> Tensor:
        """Fuse the logits of the sides: float32 [b, L] each, flags [b] each -> logits, float32 [b, L]."""
        nothing = image.new_zeros(())
        image, text = present_or(image, image_present, nothing), present_or(text, text_present, nothing)
        # The absent side's logits are 0, so the sum is what the side that is there says.
        return present_or(present_or(self.join(image, text), text_present, image + text), image_present, image + text)

    def join(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the logits of rows that have both sides from the logits of each: float32 [b, L]."""
        if self.rule == "stack":
            return self.stack(torch.cat((image, text), 1))  # type: ignore[no-any-return]
        if self.rule == "saturating":
            bias, weight, most, slope, shift = self.saturate
            joined: Tensor = bias + weight * image + most * torch.tanh(slope * text + shift)
            return joined
        share = torch.sigmoid(self.balance) if self.rule == "weighted" else 0.5
        return share * image + (1 - share) * text
