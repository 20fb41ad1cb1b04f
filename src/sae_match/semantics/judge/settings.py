"""What a judge is told."""

import os
from collections.abc import Hashable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sae_match.addresses import Key, is_at, key_for, refuse_bad_address
from sae_match.errors import UserError
from sae_match.semantics.judge.overlap_judge import DEFAULT_CUTS
from sae_match.semantics.judge.rubric import read_rubric
from sae_match.semantics.judge.verdicts import Cuts

OFFICIAL = "https://api.openai.com/v1"
_KEY, _BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
KINDS = ("token_overlap", "embedding", "openai")
#: A kind that stands for no judge at all.
NONE = "none"


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
        key_variable: Environment variable that holds the key; if none is given, `OPENAI_API_KEY` where the server is
            OpenAI's own, and no key for any other.
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
    key_variable: str | None = None
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

    def __post_init__(self) -> None:
        if self.kind != NONE:
            refuse_impossible_judge(self)

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
    return (settings.base_url or os.environ.get(_BASE_URL) or OFFICIAL).rstrip("/")


def address_setting(settings: JudgeSettings) -> str:
    """What says where the server is, for messages."""
    return _BASE_URL if not settings.base_url and os.environ.get(_BASE_URL) else "judge.base_url"


def is_openais(settings: JudgeSettings) -> bool:
    """Whether the server is OpenAI's own, of whatever region."""
    return is_at(address(settings), urlsplit(OFFICIAL).hostname or "")


def has_listed_prices(settings: JudgeSettings) -> bool:
    """Whether the server's prices are OpenAI's list."""
    return address(settings) == OFFICIAL


def key_of(settings: JudgeSettings) -> Key:
    """The key that the server is asked with: OpenAI's own goes nowhere else unless the settings say so.

    Raises:
        UserError: If it can be no key, or would go over the network in the open.
    """
    variable = settings.key_variable or (_KEY if is_openais(settings) else None)
    return key_for(address(settings), address_setting(settings), variable)


def refuse_impossible_judge(settings: JudgeSettings) -> None:
    """Refuse a kind of judge that there is not, and what a judge of its kind cannot be told.

    Raises:
        UserError: If there is any of it.
    """
    if settings.kind not in KINDS:
        raise UserError(f"judge.kind must be one of {', '.join(KINDS)}, got {settings.kind!r}")
    refuse_negative_limit(settings.limit)
    if settings.cuts:
        Cuts.of(settings.cuts)
    if settings.kind == "embedding":
        _refuse_impossible_encoder(settings)
    if settings.kind == "openai":
        _refuse_impossible_model(settings)


def refuse_negative_limit(dollars: float | None) -> None:
    """Refuse to spend less than nothing.

    Raises:
        UserError: If that is asked for.
    """
    if dollars is not None and not dollars >= 0:
        raise UserError(f"judge.limit must be a number of dollars and not be negative, got {dollars:g}")


def _refuse_impossible_encoder(settings: JudgeSettings) -> None:
    if not settings.model:
        raise UserError("judge=embedding needs judge.model, a folder or a repository of a sentence encoder")
    if not settings.cuts:
        raise UserError(
            "judge=embedding needs judge.cuts, the cosines from which on the label is 2 and 3, such as [0.4,0.7]: "
            "they differ from model to model"
        )
    if settings.batch_size < 1:
        raise UserError(f"judge.batch_size must be at least 1, got {settings.batch_size}")


def _refuse_impossible_model(settings: JudgeSettings) -> None:
    if not settings.model:
        raise UserError("judge=openai needs judge.model, the name of a model of the server, such as gpt-4o-mini")
    refuse_bad_address(address_setting(settings), address(settings))
    for name, least in (("concurrency", 1), ("max_tokens", 1), ("retries", 0), ("again", 0), ("backoff", 0)):
        if not getattr(settings, name) >= least:
            raise UserError(f"judge.{name} must be at least {least}, got {getattr(settings, name)}")
    if not settings.timeout > 0:
        raise UserError(f"judge.timeout must be above 0 seconds, got {settings.timeout}")
