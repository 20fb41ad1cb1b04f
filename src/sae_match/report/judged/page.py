"""The explorer page of a finished validation, joined by what judges said."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sae_match.errors import UserError
from sae_match.files import make_writable
from sae_match.matching.layers import matching_file
from sae_match.matching.result import Matching
from sae_match.report.explorer.judged import Feature, JudgedPair, Judgements, write_judgements
from sae_match.report.explorer.writing import judgements_of_page
from sae_match.report.judged.judgements import ARMS, of_neighbours, scored
from sae_match.saes.two import end_name, layer_of
from sae_match.semantics.answers import Answer
from sae_match.semantics.questions import COMPOSED, MATCHED, Pair


class JudgedPage:
    """A page that shows what judges say of the features on it.

    Args:
        folder: Of a finished run of `scripts/validate.py`.

    Attributes:
        file: The page.

    Raises:
        UserError: If there is no page that judgements can join, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file, self._chunks = judgements_of_page(folder)
        try:
            make_writable(self._chunks)
        except OSError as error:
            raise UserError(f"page={folder}: cannot write {self._chunks}: {error.strerror or error}") from error

    def refuse_other_matchings(self, neighbours: Mapping[Pair, Matching], names: tuple[str, str] | None = None) -> None:
        """Refuse judgements of pairs that the page does not show.

        Args:
            neighbours: Matchings of neighbouring layers that judges are asked about; of two collections, by ends.
            names: Of two collections, if there are two.

        Raises:
            UserError: If the page's run has no matching of two of these layers, or another one.
        """
        for ends, matching in neighbours.items():
            pair = (layer_of(ends[0]), layer_of(ends[1]))
            layers = f"layers {pair[0]} and {pair[1]}"
            file = matching_file(self.folder, pair, names)
            if not file.is_file():
                raise UserError(
                    f"page={self.folder}: its run did not match {layers}; validate them as well, or ask about other "
                    "layers (study.layers)"
                )
            shown = Matching.load(file).permutation
            if len(shown) != len(matching.permutation) or not shown.equal(matching.permutation):
                raise UserError(
                    f"page={self.folder}: its run matched {layers} in another way; choose the sae and matcher that "
                    f"{self.folder / '.hydra' / 'overrides.yaml'} names"
                )

    def show(self, said: Mapping[str, Sequence[Answer]], about: Mapping[str, str]) -> None:
        """Let the page show what each judge said, by name, to the same questions, in place of what it showed before.

        Args:
            said: Answers of each judge.
            about: What was asked, and by what evidence, by name.

        Raises:
            UserError: If the page cannot be written.
        """
        write_judgements(judgements_of(said, about), self._chunks)


def judgements_of(said: Mapping[str, Sequence[Answer]], about: Mapping[str, str]) -> Judgements:
    """What a page shows of what each judge said, by name, to the same questions."""
    scores = {
        judge: {arm: scored(several) for arm in ARMS if (several := of_neighbours(answers, arm))}
        for judge, answers in said.items()
    }
    pairs: list[JudgedPair] = []
    shown: dict[Feature, str] = {}
    for answers in zip(*said.values(), strict=True):
        question = answers[0].question
        # Controls are about chance, not about what the page shows: they stand in the scores only.
        if question.arm not in (MATCHED, COMPOSED):
            continue
        source, target = (
            (end if question.names is None else end_name(end, question.names), feature)
            for end, feature in zip(question.ends, (question.source_feature, question.target_feature), strict=True)
        )
        pairs.append(JudgedPair(question.arm, source, target, [answer.verdict for answer in answers]))
        shown |= {source: answers[0].source.text, target: answers[0].target.text}
    return Judgements(scores, pairs, shown, about)
