"""The same matcher again, against any target: what is told a matching's own provenance is found out here."""

from dataclasses import dataclass, field, replace
from typing import cast

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.baselines import nearest
from sae_match.matching.cache import MatchingCache
from sae_match.matching.cost import Metric
from sae_match.matching.matching import arguments_of, match
from sae_match.matching.result import Matching, among_all, mask_hash
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.solving import Watch
from sae_match.matching.solver.starting import Prices
from sae_match.saes.folding import Fold, live_features
from sae_match.saes.sae import SAE

# Solvers that have not looked at the weights: whatever the target's weights are, they find the same pairs.
_BLIND = ("identity", "random", "coactivation")
_NEAREST, _COMPOSED = "nearest", "composition"


@dataclass(frozen=True, eq=False)
class Rematch:
    """How a matching was found, so that it can be repeated against other targets.

    Attributes:
        settings: Of the matcher; without a mask, since only features that take part are given.
        kind: `one to one`, `nearest`, or `blind`: pairs that were not chosen by weights stay as they are.
        matching: The matching.
        source_part: Source features that take part.
        target_part: Target features that take part.
        cache: Where matchings are kept; none if they are not.
        watch: Told where solutions stand.
        prices: What the last matching of all that take part has left: random targets are like one another.
    """

    settings: MatcherSettings
    kind: str
    matching: Matching
    source_part: Bool[Tensor, " n_source"]
    target_part: Bool[Tensor, " n_target"]
    cache: MatchingCache | None = None
    watch: Watch = lambda _: None
    prices: Prices = field(default_factory=Prices)

    def told(self, against: str) -> "Rematch":
        """The same, with what is matched said to whoever watches."""
        return replace(self, watch=lambda status: self.watch(replace(status, against=against)))

    def partners(self, source: SAE, target: SAE, part: Bool[Tensor, " n_source"]) -> Int64[Tensor, " n_source"]:
        """Partner of each source feature of a part in another target of the same features; -1 for the others.

        Args:
            source: The source.
            target: Of as many features as the matching's own.
            part: Source features that look for a partner, a part of those that take part.
        """
        if self.kind == "blind":
            return torch.where(part, self.matching.permutation, -1)
        # Other features have other prices.
        prices = self.prices if torch.equal(part, self.source_part) else None
        found = self._found(some_features(source, part), some_features(target, self.target_part), prices)
        return among_all(found, part, self.target_part).permutation

    def _found(self, source: SAE, target: SAE, prices: Prices | None) -> Matching:
        if self.kind == _NEAREST:
            settings = self.settings
            fold, metric = cast(Fold, settings.fold), cast(Metric, settings.metric)
            return nearest(source, target, fold=fold, terms=settings.terms, metric=metric)
        if self.cache is not None:
            return self.cache.match(source, target, self.settings, watch=self.watch, prices=prices)
        return match(source, target, **arguments_of(self.settings, source, target), watch=self.watch, prices=prices)


def rematch(
    source: SAE,
    target: SAE,
    matching: Matching,
    *,
    settings: MatcherSettings | None = None,
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
    cache: MatchingCache | None = None,
    watch: Watch = lambda _: None,
) -> Rematch:
    """How a matching was found: by its provenance, or by what is given instead.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these.
        settings: Of the matcher; by default those of the provenance.
        source_mask: Source features that took part; by default all, or all that are not dead if no dead one has a
            partner.
        target_mask: The same of the target.
        cache: Where matchings are kept.
        watch: Told where solutions stand.

    Raises:
        UserError: If the matching is not of these SAEs, or it is not known how it was found.
    """
    _refuse_others(source, target, matching)
    permutation = matching.permutation
    paired = torch.zeros(target.d_sae, dtype=torch.bool)
    paired[permutation[permutation >= 0]] = True
    given = settings or settings_of(matching)
    parts = [
        _part(side, sae, has_partner, mask, matching, given)
        for side, sae, has_partner, mask in (
            ("source", source, permutation >= 0, source_mask),
            ("target", target, paired, target_mask),
        )
    ]
    return Rematch(replace(given, mask="none"), _kind(matching), matching, parts[0], parts[1], cache, watch)


def settings_of(matching: Matching) -> MatcherSettings:
    """The matcher's settings as a matching's provenance has them.

    Raises:
        UserError: If it has none.
    """
    notes = matching.provenance
    if _kind(matching) == "blind":
        return MatcherSettings()
    if not {"fold", "terms", "metric"} <= notes.keys():
        raise UserError(
            "the matching does not say how it was found (fold, terms and metric in its provenance); "
            "give settings=MatcherSettings(…)"
        )
    try:
        terms = {name: float(weight) for name, weight in (term.split("=") for term in notes["terms"].split())}
        price = notes.get("rejection_cost", "None")
        rejection_cost = None if price == "None" else float(price)
    except ValueError as error:
        raise UserError(f"the matching's provenance cannot be read: {error}") from error
    return MatcherSettings(fold=notes["fold"], terms=terms, metric=notes["metric"], rejection_cost=rejection_cost)


def some_features(sae: SAE, part: Bool[Tensor, " d_sae"]) -> SAE:
    """An SAE of some features, in their order; itself where that is all."""
    if bool(part.all()):
        return sae
    index = part.nonzero().flatten().to(sae.b_enc.device)
    return replace(
        sae,
        W_enc=sae.W_enc[:, index].contiguous(),
        b_enc=sae.b_enc[index],
        W_dec=sae.W_dec[index],
        threshold=None if sae.threshold is None else sae.threshold[index],
        k=None if sae.k is None else min(sae.k, len(index)),
        rank_scale=None if sae.rank_scale is None else sae.rank_scale[index],
    )


def _kind(matching: Matching) -> str:
    solver = matching.provenance.get("solver", "")
    if solver == _COMPOSED:
        raise UserError("a composed matching is judged by composed_significance, which takes the SAEs it leads through")
    if solver.split(",")[0] in _BLIND:
        return "blind"
    if solver == _NEAREST or not matching.one_to_one:
        return _NEAREST
    return "one to one"


def _part(
    side: str,
    sae: SAE,
    paired: Bool[Tensor, " n"],
    mask: Bool[Tensor, " n"] | None,
    matching: Matching,
    settings: MatcherSettings,
) -> Bool[Tensor, " n"]:
    """Features of one side that took part."""
    live = live_features(sae).cpu()
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != (sae.d_sae,):
            raise UserError(f"{side}_mask must be a tensor, bool [{sae.d_sae}]")
        if bool((paired & ~mask.cpu()).any()):
            feature = int((paired & ~mask.cpu()).nonzero()[0])
            raise UserError(f"{side}_mask leaves out feature {feature}, which the matching has given a partner")
        return mask.cpu()
    noted = matching.provenance.get(f"{side}_mask")
    if noted is not None and noted != mask_hash(live):
        raise UserError(f"the matching was found with a {side}_mask; give it again as {side}_mask=…")
    # What takes no part has no partner: neither says more than the other where no mask was noted.
    if noted is not None or settings.mask == "dead" or not bool((paired & ~live).any()):
        return live
    return torch.ones(sae.d_sae, dtype=torch.bool)


def _refuse_others(source: SAE, target: SAE, matching: Matching) -> None:
    permutation = matching.permutation
    furthest = int(permutation.max()) if len(permutation) else -1
    if len(permutation) != source.d_sae or furthest >= target.d_sae:
        raise UserError(
            f"a matching of {len(permutation)} features that leads to feature {furthest} "
            f"does not go with SAEs of {source.d_sae} and {target.d_sae} features"
        )
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    for side, sae in (("source", source), ("target", target)):
        if matching.provenance.get(side, "") not in ("", sae.content_hash()):
            raise UserError(f"the matching's {side} is another SAE: its content hash is not the one in the provenance")
