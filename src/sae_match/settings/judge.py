"""What a study of meanings can be told."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from sae_match.errors import UserError
from sae_match.evaluation.settings import refuse_other_than_pairs
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.saes.settings import SAESettings
from sae_match.semantics.judge.settings import KINDS, NONE, JudgeSettings
from sae_match.semantics.settings import DescriptionSettings, StudySettings
from sae_match.text.settings import TextSettings

AUTO, DESCRIPTIONS, CONTEXTS = "auto", "descriptions", "contexts"


@dataclass
class JudgeStudySettings:
    """Everything that `scripts/judge.py` can be told.

    Attributes:
        target: Another collection: features are asked about with their partners in it, layer by layer; none for paths
            over the layers of `sae`.
        pairs: With a target, pairs of layers such as `[[3,3],[3,4]]`; by default the layers that both have.
        study: What is asked about.
        descriptions: Where published descriptions come from.
        judge: Who is asked.
        second: Another judge, whose labels are compared with the first one's; of kind `none` for none.
        evidence: What they are shown: `descriptions`, `contexts`, or `auto`: descriptions where the
            collection's are published and no judge needs the tokens that features fire on, contexts otherwise.
        page: Folder of a finished validation of the same SAEs and matcher, whose `report.html` then shows what was
            said; none for no page.
        output_dir: Where the run leaves its files.
        cache_dir: Folder in which matchings are kept between runs; `matchings` in the user's cache folder if none
            is given. Beside it stand `neuronpedia`, descriptions, and `answers`, what judges said.
        device: Where the language model runs; `auto` is a GPU where there is one.
        progress: Whether progress is shown.
    """

    model: ModelSettings
    sae: SAESettings
    matcher: MatcherSettings
    text: TextSettings
    judge: JudgeSettings
    second: JudgeSettings
    logger: LoggerSettings
    target: SAESettings | None = None
    pairs: Any = None
    study: StudySettings = field(default_factory=StudySettings)
    descriptions: DescriptionSettings = field(default_factory=DescriptionSettings)
    evidence: str = AUTO
    page: str | None = None
    output_dir: str = MISSING
    cache_dir: str | None = None
    device: str = AUTO
    progress: bool = True

    def __post_init__(self) -> None:
        if self.judge.kind == NONE:
            raise UserError(f"judge.kind must be one of {', '.join(KINDS)}, got {NONE!r}")
        if self.evidence not in (AUTO, DESCRIPTIONS, CONTEXTS):
            raise UserError(f"evidence must be {AUTO}, {DESCRIPTIONS} or {CONTEXTS}, got {self.evidence!r}")
        if self.pairs is not None:
            if self.target is None:
                raise UserError("pairs are of two collections: name a target, or choose layers by study.layers")
            refuse_other_than_pairs(self.pairs)
        self.judges()

    def judges(self) -> list[JudgeSettings]:
        """Who is asked, one after another.

        Raises:
            UserError: If the second is the first again, who would say the same.
        """
        if self.second.kind == NONE:
            return [self.judge]
        if self.second.identity() == self.judge.identity():
            again = self.judge.again + 1
            remedy = f"; second.again={again} asks it once more" if self.judge.kind == "openai" else ""
            raise UserError(f"judge and second are the same judge, and would say the same{remedy}")
        return [self.judge, self.second]

    def shows_contexts(self, published: bool) -> bool:
        """Whether judges are shown contexts; better asked before anything is matched.

        Args:
            published: Whether the collection has descriptions.

        Raises:
            UserError: If descriptions are wanted that do not exist or do not tell what a judge looks at.
        """
        if self.evidence == DESCRIPTIONS and not published:
            raise UserError(
                f"evidence={DESCRIPTIONS}: no descriptions are known of {self.sae.source}; see sae.neuronpedia"
            )
        profiled = [judge.kind for judge in (self.judge, self.second) if judge.needs_profiles]
        if self.evidence == DESCRIPTIONS and profiled:
            raise UserError(
                f"evidence={DESCRIPTIONS}: {profiled[0]} looks at the tokens that features fire on, which "
                f"descriptions do not tell; set evidence={CONTEXTS}, or choose another judge"
            )
        return self.evidence == CONTEXTS or (self.evidence == AUTO and (not published or bool(profiled)))
