"""From a hidden state at a step tag to its reward: a two-row head, in float32."""

from typing import Any

import torch
from torch import Tensor, nn

from medprm_scorer.errors import ModelError


class RewardHead:
    """reward = softmax over the logits of " +" and " -" = sigmoid(h · (W[+] - W[-])), as Med-PRM reads its model.

    Only these two of the 128k rows of the language-model head are kept, so logits of the whole vocabulary are never
    computed.

    Args:
        model: A transformers causal language model.
        positive_id: Id of " +".
        negative_id: Id of " -".

    Raises:
        ModelError: The model has no plain linear head, or changes its logits in a way that this head does not
            reproduce.
    """

    def __init__(self, model: Any, positive_id: int, negative_id: int) -> None:
        linear = model.get_output_embeddings()
        if not isinstance(linear, nn.Linear):
            raise ModelError("the model has no linear language-model head, so step rewards cannot be read from it")
        if not linear.weight.is_floating_point() or type(linear.weight.detach()) is not Tensor:
            raise ModelError("the model's language-model head is quantized, so step rewards cannot be read from it")
        if max(positive_id, negative_id) >= linear.weight.shape[0]:
            raise ModelError("the model's vocabulary is smaller than its tokenizer's: they do not belong together")
        for setting, neutral in (("final_logit_softcapping", None), ("logits_scaling", 1), ("logit_scale", 1)):
            if getattr(model.config, setting, neutral) not in (neutral, None):
                raise ModelError(f"the model's setting {setting} changes its logits, which is not supported")
        self.device: torch.device = linear.weight.device
        self._linear, self._rows = linear, [positive_id, negative_id]

    def __call__(self, hidden: Tensor) -> Tensor:
        """Rewards, float32 of shape (n,), from the final (normalized) hidden states at tags, shape (n, hidden size)."""
        weight = self._of_labels(self._linear.weight)  # (2, hidden size); read anew, as weights may be trained
        logits = (hidden.float()[:, None] * weight).sum(-1)  # (n, 2); a matrix product may be less precise
        if self._linear.bias is not None:
            logits = logits + self._of_labels(self._linear.bias)  # (n, 2)
        return logits.softmax(-1)[:, 0]  # (n,)

    def _of_labels(self, whole: Tensor) -> Tensor:
        """The two rows, in float32; each by its index, since a list of indices would be copied to the device."""
        return torch.stack([whole[row].detach() for row in self._rows]).float()
