"""What a judge is told."""

import os
from collections.abc import Hashable
from dataclasses import dataclass

from sae_match.semantics.judge.overlap_judge import DEFAULT_CUTS
from sae_match.semantics.judge.rubric import read_rubric

OFFICIAL = "https://api.openai.com/v1"


@dataclass
class JudgeSettings:
    """Which judge, and how it judges.

    Attributes:
        kind: `token_overlap` (no model), `embedding` (a sentence encoder) or `openai` (a language model
            behind a server that speaks OpenAI's protocol).
        model: Name of the server's model; for `embedding` a folder or a repository of the hub.
        cuts: Two similarities from which on the label is 2 and 3, of the judges that measure one.
        batch_size: Texts that `embedding` encodes at a time.
        device: That `embedding` computes on.
        base_url: Of the server, such as `http://localhost:8000/v1`; `OPENAI_BASE_URL` or OpenAI's own
            if none is given.
        key_variable: Environment variable that holds the key.
        prompt: File with a prompt to use in place of our own (`rubric.read_rubric` says how it is written).
        again: A further round over the same pairs, answered anew and kept apart: how far does a judge
            agree with itself?
        concurrency: Ordered pairs that are asked about at the same time.
        timeout: Seconds without a byte until a call is given up.
        retries: How often a call that failed is made again.
        backoff: Seconds until the first of these, on average; twice as long for each further one.
        max_tokens: Most tokens of an answer.
        price_in: Dollars per million tokens sent; known for some of OpenAI's models.
        price_out: Likewise of tokens that come back.
        limit: Dollars that one run may spend; none for no limit. Of several judges, those without one share the
            first one's.
        cache: Folder in which answers are kept; if none is given, `answers` where the run keeps its other caches.
    """

    kind: str = "token_overlap"
    model: str | None = None
    cuts: list[float] | None = None
    batch_size: int = 64
    device: str = "cpu"
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    prompt: str | None = None
    again: int = 0
    concurrency: int = 8
    timeout: float = 60.0
    retries: int = 5
    backoff: float = 1.0
    max_tokens: int = 256
    price_in: float | None = None
    price_out: float | None = None
    limit: float | None = None
    cache: str | None = None

    @property
    def needs_profiles(self) -> bool:
        """Whether it looks at the tokens that features fire on, which no published description tells."""
        return self.kind == "token_overlap"

    def identity(self) -> Hashable:
        """What makes its answers: two judges of one identity say the same.

        For a model behind a server that is what its answers are kept by. Bounds, waits, prices and folders are no part
        of it; nor is `max_tokens`, which decides whether there is an answer, not which: what one such judge was
        answered, the other is told.

        Raises:
            UserError: If the prompt cannot be read.
        """
        if self.kind == "openai":
            return self.kind, self.model, address(self), read_rubric(self.prompt).version, self.again
        if self.needs_profiles:
            return self.kind, tuple(self.cuts or DEFAULT_CUTS)
        return self.kind, self.model, tuple(self.cuts or ())


def address(settings: JudgeSettings) -> str:
    """Where the server is."""
    return (settings.base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")


def is_openais(settings: JudgeSettings) -> bool:
    """Whether the server is OpenAI's own."""
    return address(settings) == OFFICIAL
