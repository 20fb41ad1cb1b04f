"""Which judge it is."""

from collections.abc import Sequence
from pathlib import Path

from sae_match.errors import UserError
from sae_match.homes import lasts
from sae_match.semantics.judge.server.budget import Limit
from sae_match.semantics.judge.settings import JudgeSettings, refuse_impossible_judge
from sae_match.semantics.judge.verdicts import Cuts, Judge


def open_judges(settings: Sequence[JudgeSettings], cache: Path) -> list[Judge]:
    """The judges of a run; the first one's limit is what all spend together that have none of their own.

    Args:
        settings: Of each judge.
        cache: As for `open_judge`.

    Raises:
        UserError: If there is no such judge, or a setting cannot be.
    """
    limits = [Limit.of(one.limit) for one in settings]
    return [open_judge(one, cache, limit or limits[0]) for one, limit in zip(settings, limits, strict=True)]


def open_judge(settings: JudgeSettings, cache: Path, limit: Limit | None = None) -> Judge:
    """The judge that the settings describe.

    Args:
        settings: Of the judge.
        cache: Folder in which answers that cost something are kept, unless the settings name another.
        limit: What it may spend, perhaps together with others; what the settings say if none is given.

    Raises:
        UserError: If there is no such judge, or a setting cannot be.
    """
    refuse_impossible_judge(settings)
    # Imported here: each kind brings in what the others do without.
    if settings.kind == "token_overlap":
        from sae_match.semantics.judge.overlap_judge import DEFAULT_CUTS, OverlapJudge

        return OverlapJudge(Cuts.of(settings.cuts or DEFAULT_CUTS))
    if settings.kind == "embedding":
        from sae_match.semantics.judge.embedding_judge import open_embedding_judge

        return open_embedding_judge(settings)
    try:
        from sae_match.semantics.judge.openai_judge import OpenAIJudge
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise UserError("judge=openai needs the package openai: pip install 'sae-match[judge]'") from error
    folder = Path(settings.cache).expanduser() if settings.cache else cache
    if not lasts(folder):
        raise UserError("there is no home folder to keep answers in that are paid for: set judge.cache=FOLDER, or HOME")
    return OpenAIJudge(settings, folder, limit or Limit.of(settings.limit))
