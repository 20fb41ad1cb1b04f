"""A validation done plainly: hooks, one document and one full forward at a time, sums in numpy's float64."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch


@dataclass(frozen=True)
class Parameters:
    """An SAE's parameters in float64."""

    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    threshold: np.ndarray

    @classmethod
    def of(cls, sae):
        return cls(*(getattr(sae, name).double().numpy() for name in cls.__annotations__))

    @cached_property
    def folded(self):
        theta = self.threshold
        return Parameters(
            self.W_enc / theta, self.b_enc / theta, self.W_dec * theta[:, None], self.b_dec, np.ones_like(theta)
        )

    def encode(self, x):
        z = x @ self.W_enc + self.b_enc
        return np.where(z > self.threshold, z, 0)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec

    @cached_property
    def features(self):
        """One row a feature: all that the paper's cost compares."""
        return np.concatenate([self.W_enc.T, self.b_enc[:, None], self.W_dec], 1)


def costs(source, target):
    """Squared distance of every pair of features, without expanding the square."""
    return np.stack([np.square(target.features - feature).sum(1) for feature in source.features])


class Naive:
    """What the model and its SAEs do on some documents, each by itself."""

    def __init__(self, stream, saes, documents, multiple=10):
        self.stream, self.documents, self.multiple = stream, documents, multiple
        self.saes = {layer: Parameters.of(sae) for layer, sae in saes.items()}
        self.residuals = {layer: [self.residual_after(layer, ids) for ids in documents] for layer in saes}
        self.clean = np.concatenate([self.losses(ids) for ids in documents])

    def residual_after(self, layer, ids):
        """Output of a decoder layer on one document, by a plain hook on a full forward."""
        outputs = []
        hook = self.stream.layers[layer].register_forward_hook(lambda _module, _inputs, out: outputs.append(out[0]))
        self.stream.model(input_ids=ids[None])
        hook.remove()
        return outputs[0].double().numpy()

    def losses(self, ids):
        """Nats of the predictions made after BOS, from the model's own logits."""
        logits = self.stream.model(input_ids=ids[None]).logits[0].double().numpy()
        logits = logits - logits.max(axis=1, keepdims=True)
        log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -log_probability[np.arange(len(ids) - 1), ids[1:].numpy()][1:]

    def x(self, layer):
        """Residuals of all documents, without their BOS."""
        return np.concatenate([x[1:] for x in self.residuals[layer]])

    def active(self, layer):
        """Which features of a layer are active on which tokens."""
        return self.saes[layer].encode(self.x(layer)) > 0

    def of_layer(self, layer):
        x, active = self.x(layer), self.active(layer)
        return {
            "l0": active.sum(1).mean(),
            "residual_norm": np.sqrt(np.square(x).sum(1).mean()),
            "dead_features": (~active.any(0)).mean(),
            "extreme_tokens": self.extreme(layer).mean(),
            "largest_dimension": x.var(axis=0).max() / x.var(axis=0).sum(),
        }

    def extreme(self, layer):
        """Which tokens have a norm of more than so many times the median."""
        norm = np.sqrt(np.square(self.x(layer)).sum(1))
        return norm > self.multiple * np.median(norm)

    def as_read(self, layer, x):
        """What the next layer's attention reads: Gemma's norm by its formula, with the weights of the next layer."""
        weight = self.stream.layers[layer + 1].input_layernorm.weight.double().numpy()
        epsilon = self.stream.model.config.rms_norm_eps
        return x / np.sqrt(np.square(x).mean(1, keepdims=True) + epsilon) * (1 + weight)

    def forms(self, layer, x_hat):
        """Explained variance by dimension and behind the norm, with all tokens and without the extreme ones."""
        x, usual = self.x(layer), ~self.extreme(layer)
        read = self.as_read(layer, x), self.as_read(layer, x_hat)
        found = {}
        for name, chosen in {"": np.ones_like(usual), "_usual": usual}.items():
            one_by_one = [
                1 - (x_hat - x)[chosen, d].var() / x[chosen, d].var() for d in range(x.shape[1]) if np.ptp(x[chosen, d])
            ]
            unexplained = (read[1] - read[0])[chosen].var(axis=0).sum() / read[0][chosen].var(axis=0).sum()
            found |= {f"by_dimension{name}": np.mean(one_by_one), f"normed{name}": 1 - unexplained}
        return {f"explained_variance_{form}": value for form, value in found.items()}

    def of_arm(self, pair, stand_in):
        """Metrics of an arm, given as a function of a document's residuals of both layers."""
        altered, x_hat = [], []
        for number, ids in enumerate(self.documents):
            x_source, x_target = (self.residuals[layer][number] for layer in pair)
            value = np.concatenate([x_target[:1], stand_in(x_source, x_target)[1:]])
            x_hat.append(value[1:])
            replaced = torch.from_numpy(value).float()[None]
            hook = self.stream.layers[pair[1]].register_forward_hook(lambda *_, value=replaced: value)
            altered.append(self.losses(ids))
            hook.remove()
        x, x_hat = self.x(pair[1]), np.concatenate(x_hat)
        change = (x - self.x(pair[0])).var(axis=0).sum()
        changed = {"explained_change": 1 - (x_hat - x).var(axis=0).sum() / change} if pair[0] != pair[1] else {}
        return {
            **changed,
            "explained_variance": 1 - (x_hat - x).var(axis=0).sum() / x.var(axis=0).sum(),
            "explained_variance_mse": 1 - np.square(x_hat - x).sum(1).mean() / x.var(axis=0).sum(),
            "delta_loss": (np.concatenate(altered) - self.clean).mean(),
            **self.forms(pair[1], x_hat),
        }

    def of_partners(self, pair, partner, other=None):
        """Metrics of a matching, feature by feature; to features of the same model's other SAEs, if they are given."""
        before, after = self.active(pair[0]), (other or self).active(pair[1])
        source, target = before.sum(0), np.where(partner >= 0, after.sum(0)[partner], 0)
        both = np.array([(before[:, i] & after[:, j]).sum() if j >= 0 else 0 for i, j in enumerate(partner)])
        live = source > 0
        return {
            "matching_score": both.sum() / source.sum(),
            "necessity": both.sum() / target.sum(),
            "jaccard": both.sum() / (source + target - both).sum(),
            "matching_score_macro": (both[live] / source[live]).mean(),
        }


def affine_map(x, y):
    """Least squares on the tokens themselves."""
    solution = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    return lambda x: x @ solution[:-1] + solution[-1]


def stand_in(arm, source, target, partner=None, linear=None, chosen=None, mean=None):
    """An arm as a function of the residuals of both layers; `chosen` are features that it sends to their partner."""
    if arm != "matched_unfolded":
        source, target = source.folded, target.folded

    def sent(f):
        values = np.zeros((len(f), len(target.b_enc)))
        for i, j in enumerate(partner):
            if j >= 0:
                values[:, j] += f[:, i]
        return values

    def partly_matched(x, _):
        f = source.encode(x)
        return target.decode(sent(f * chosen)) + (f * ~chosen) @ source.W_dec

    def swapped(x, _):
        f = source.encode(x) * (partner >= 0) * (True if arm == "swapped" else chosen)
        return x + sent(f) @ target.W_dec - f @ source.W_dec

    plain = {
        "layer_drop": lambda x, _: x,
        "reconstruct_source": lambda x, _: source.decode(source.encode(x)),
        "reconstruct_target": lambda _, x: target.decode(target.encode(x)),
        "mean": lambda x, _: np.tile(mean, (len(x), 1)),
        "linear_map": lambda x, _: linear(x),
        "linear_map_sae": lambda x, _: target.decode(target.encode(linear(x))),
    }
    if arm in plain:
        return plain[arm]
    if partner is None:
        raise KeyError(f"no definition of arm {arm!r}; add it here")
    if arm.startswith("swapped"):
        return swapped
    partly = arm.startswith("quantile") or arm == "matched_significant"
    return partly_matched if partly else lambda x, _: target.decode(sent(source.encode(x)))
