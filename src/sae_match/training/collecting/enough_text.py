"""Is there text enough for a training? Counted before the model is run, as tokenising takes a hundredth of the time."""

from collections.abc import Callable

from sae_match.errors import UserError
from sae_match.text.settings import TextSettings
from sae_match.training.collecting.text_stream import CropStream
from sae_match.training.sae_settings import SAETrainingSettings, blocks_of

#: More tokens than these are not counted beforehand.
_MOST = 20_000_000
#: Kinds of sources that lie elsewhere, whose text is fetched as it is read.
_ELSEWHERE = ("hub",)


def refuse_short_text(
    text: TextSettings, stream: CropStream, settings: SAETrainingSettings, watch: Callable[[int, int], None]
) -> None:
    """Refuse a training that wants more tokens than its text has, if the text lies on this machine.

    Args:
        text: Which datasets.
        stream: Their training part; it is used up.
        settings: Settled settings of the training.
        watch: Called with how many tokens were found, and how many are wanted.

    Raises:
        UserError: If there are too few.
    """
    wanted = blocks_of(settings, 1).tokens
    if wanted > _MOST or any(source.kind in _ELSEWHERE for source in text.datasets.values()):
        return
    found = 0
    for batch in stream:
        found += int(batch.scored.sum())
        watch(min(found, wanted), wanted)
        if found >= wanted:
            return
    features = settings.d_sae
    raise UserError(
        f"the text is too short: {wanted} tokens are wanted, {wanted / features:.3g} for each of {features} features, "
        f"and dataset {stream.ended!r} ends when all together have given {found}; set training.tokens={found} (each is "
        "used more often then), lower training.d_sae, or name more text"
    )
