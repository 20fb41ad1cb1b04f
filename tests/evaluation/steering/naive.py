"""Steering done plainly: forward hooks on the model, one full forward for each feature, strength and document."""

import torch


class NaiveSteering:
    """A document of a batch.

    Args:
        stream: The language model, whose own forward is run.
        saes: By layer.
        batch: Text.
        row: Which document.
    """

    def __init__(self, stream, saes, batch, row):
        self.stream, self.saes = stream, saes
        self.ids, self.mask = batch.input_ids[row : row + 1], batch.attention_mask[row : row + 1]
        self.scored = batch.scored[row]
        self.clean, self.before = self.run({})

    def run(self, added):
        """Log-probabilities on scored tokens, and features of all layers, before what is added there."""
        features, handles = {}, []
        for layer, module in enumerate(self.stream.layers):

            def look(_module, _inputs, output, layer=layer):
                if layer in self.saes:
                    features[layer] = self.saes[layer].encode(output[0][self.scored]).double()
                if layer not in added:
                    return output
                value = output.clone()
                value[0, self.scored] += added[layer]
                return value

            handles.append(module.register_forward_hook(look))
        with torch.no_grad():
            hidden = self.stream.anatomy.decoder(input_ids=self.ids, attention_mask=self.mask.long())
        for handle in handles:
            handle.remove()
        hidden = hidden if isinstance(hidden, torch.Tensor) else hidden.last_hidden_state
        with torch.no_grad():
            logits = self.stream.head(hidden[0, self.scored])
            if self.stream.softcap is not None:
                logits = (logits / self.stream.softcap).tanh() * self.stream.softcap
        return logits.double().log_softmax(-1), features

    def nats(self, logs):
        """Divergence from the clean run, summed over tokens."""
        return float((self.clean.exp() * (self.clean - logs)).sum())

    def moments(self, one, other):
        """Covariance of two changes of log-probabilities under the clean distribution, summed over tokens."""
        p = self.clean.exp()
        a, b = (logs - self.clean for logs in (one, other))
        a, b = (c - (p * c).sum(-1, keepdim=True) for c in (a, b))
        return float((p * a * b).sum())
