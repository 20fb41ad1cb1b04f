"""A causal check done plainly: hooks on the model, one full forward a feature and document, numpy's float64."""

import numpy as np
import torch

from tests.evaluation.naive import Parameters


class NaiveCheck:
    """What switching single features of one document off does.

    Args:
        stream: The language model, whose own forward is run.
        saes: By layer.
        ids: Token ids of the document, BOS in front.
    """

    def __init__(self, stream, saes, ids):
        self.stream, self.ids, self._known = stream, ids, {}
        self.saes = {layer: Parameters.of(sae) for layer, sae in saes.items()}
        self.residuals, self.logs = self._run({})
        self.f = {layer: self._features(layer, self.residuals) for layer in self.saes}

    def _features(self, layer, residuals):
        f = self.saes[layer].encode(residuals[layer])
        f[0] = 0
        return f

    def _run(self, replaced):
        """Residuals after all layers and log-probabilities of next tokens, with some layers' outputs replaced."""
        residuals, handles = {}, []
        for layer, module in enumerate(self.stream.layers):

            def look(_module, _inputs, output, layer=layer):
                value = torch.from_numpy(replaced[layer]).float()[None] if layer in replaced else output
                residuals[layer] = value[0].double().numpy()
                return value

            handles.append(module.register_forward_hook(look))
        logits = self.stream.model(input_ids=self.ids[None]).logits[0].double()
        for handle in handles:
            handle.remove()
        return residuals, logits.log_softmax(-1).numpy()

    def off(self, layer, feature):
        """Residuals, and the divergence of the next token's distribution, with a feature of a layer taken out."""
        if (layer, feature) not in self._known:
            self._known[layer, feature] = self._off(layer, feature)
        return self._known[layer, feature]

    def _off(self, layer, feature):
        removed = np.outer(self.f[layer][:, feature], self.saes[layer].W_dec[feature])
        residuals, logs = self._run({layer: self.residuals[layer] - removed})
        return residuals, (np.exp(self.logs) * (self.logs - logs)).sum(1)

    def falls(self, pair, feature):
        """How far each target feature falls, on tokens on which the source feature is active."""
        on = self.f[pair[0]][:, feature] > 0
        after = self._features(pair[1], self.off(pair[0], feature)[0])
        return (self.f[pair[1]] - after)[on].sum(0)

    def activations(self, pair, feature, partner):
        """The target feature's activation before and after, and on how many tokens both are active."""
        both = (self.f[pair[0]][:, feature] > 0) & (self.f[pair[1]][:, partner] > 0)
        after = self._features(pair[1], self.off(pair[0], feature)[0])
        return self.f[pair[1]][both, partner].sum(), after[both, partner].sum(), both.sum()

    def divergences(self, pair, feature, partner):
        """Of both, on tokens on which either is active."""
        either = (self.f[pair[0]][:, feature] > 0) | (self.f[pair[1]][:, partner] > 0)
        return self.off(pair[0], feature)[1][either], self.off(pair[1], partner)[1][either]
