"""What features mean: what is collected, asked for and asked about, as settings."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from sae_match.addresses import refuse_bad_address
from sae_match.errors import UserError
from sae_match.matching.significance.settings import refuse_impossible_judging

MODES = ("auto", "export", "api", "both", "none")


@dataclass
class ContextSettings:
    """What a validation leaves besides its numbers: where features fire, for its page, and pictures.

    Attributes:
        contexts: Documents kept of each feature, in which it is strongest; 0 to collect no text at all.
        sample: Tokens sampled of each feature, for what it fires on.
        pictures: Whether there are any; the tables hold the numbers that they show.
    """

    contexts: int = 8
    sample: int = 24
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.contexts < 0 or (self.contexts and self.sample < 1):
            raise UserError(
                f"report.contexts must not be negative and report.sample must be at least 1, "
                f"got {self.contexts} and {self.sample}"
            )


@dataclass
class DescriptionSettings:
    """Where descriptions of features come from, and how they are asked for.

    Attributes:
        mode: `export` for bulk files, `api` for single questions, `auto` for bulk files and, of sources that
            have none, single questions; `both` for bulk files and, of features that they do not describe, single
            questions, of which dead features make many; `none` for no descriptions.
        folder: Folder with files of the export, below `MODEL/SOURCE/explanations/`, to read instead of asking.
        prefer: Names of explaining models or kinds of explanation, most preferred first: whose explanation of
            a feature is its description where there are several.
        cache_dir: Where answers are kept between runs, in a folder `neuronpedia`; if none is given, where the run
            keeps its other caches.
        export: Where the bulk files are, as `https://…` or `s3://BUCKET`.
        api: Address of Neuronpedia.
        key_variable: Environment variable with the key for that address; if none is given, `NEURONPEDIA_API_KEY` where
            it is Neuronpedia's own, and no key for any other.
        requests_per_hour: Single questions an hour, of all processes that share the cache together; a tenth of
            them may come at once.
        timeout: Seconds without a sign of life after which a question counts as unanswered.
        tries: How often a question is asked before it is given up.
        back_off: Seconds before the second try; each further wait is twice as long.
    """

    mode: str = "auto"
    folder: str | None = None
    prefer: list[str] = field(default_factory=list)
    cache_dir: str | None = None
    export: str = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
    api: str = "https://www.neuronpedia.org"
    key_variable: str | None = None
    requests_per_hour: float = 10_000.0
    timeout: float = 60.0
    tries: int = 5
    back_off: float = 1.0

    def __post_init__(self) -> None:
        refuse_impossible_descriptions(self)

    def kept_in(self, caches: Path) -> "DescriptionSettings":
        """These settings, with answers kept in a run's folder of caches where they name no other."""
        return self if self.cache_dir is not None else replace(self, cache_dir=str(caches))


@dataclass
class StudySettings:
    """What is asked about.

    Attributes:
        paths: Random feature paths.
        layers: Consecutive layers that they lead over: the last so many that have an SAE.
        starts: Layers from which descendants are compared over growing distances; by default the first of the
            paths' layers and the one in their middle.
        live: Whether only features with evidence are drawn (a description, or a place where they fire; or, where
            descriptions are asked for one by one, the chance of one). The others can be drawn, but no judge has
            anything to say of them.
        seed: Of the paths and of random partners.
        rotations: Random targets that matchings of neighbours are judged against, which says which pairs are matches.
            Zero: none is judged.
        alpha: Level at which a pair counts as significant.
        of_each_class: Further pairs of neighbouring layers that are asked about: so many significant ones, and so many
            that may be chance. Paths alone hold few of the latter.
    """

    paths: int = 100
    layers: int = 16
    starts: list[int] | None = None
    live: bool = True
    seed: int = 0
    rotations: int = 8
    alpha: float = 0.05
    of_each_class: int = 50

    def __post_init__(self) -> None:
        refuse_impossible_study(self)


def refuse_impossible_descriptions(settings: DescriptionSettings) -> None:
    """Refuse a mode that there is not, and numbers that cannot be.

    Raises:
        UserError: If there are any.
    """
    if settings.mode not in MODES:
        raise UserError(f"unknown descriptions.mode {settings.mode!r}; there are {', '.join(MODES)}")
    refuse_bad_address("descriptions.export", settings.export, ("https", "http", "s3"))
    refuse_bad_address("descriptions.api", settings.api)
    refuse_impossible_manners(settings.timeout, settings.tries, settings.back_off)
    refuse_impossible_pace(settings.requests_per_hour)


def refuse_impossible_manners(timeout: float, tries: int, back_off: float) -> None:
    """Refuse numbers that no server can be asked with.

    Raises:
        UserError: If there are any.
    """
    if timeout <= 0 or tries < 1 or back_off < 0:
        raise UserError(
            "descriptions: timeout must be positive, tries at least 1 and back_off not negative, "
            f"got {timeout}, {tries} and {back_off}"
        )


def refuse_impossible_pace(requests_per_hour: float) -> None:
    """Refuse a number of requests an hour at which nothing would ever be asked.

    Raises:
        UserError: If it is one.
    """
    if not requests_per_hour > 0:
        raise UserError(f"descriptions.requests_per_hour must be positive, got {requests_per_hour}")


def refuse_impossible_study(settings: StudySettings) -> None:
    """Refuse numbers of paths or layers that make no study.

    Raises:
        UserError: If one does.
    """
    if settings.paths < 1 or settings.layers < 2:
        raise UserError(
            f"study.paths must be at least 1 and study.layers at least 2, got {settings.paths} and {settings.layers}"
        )
    if settings.of_each_class < 0:
        raise UserError(f"study.of_each_class must be at least 0, got {settings.of_each_class}")
    refuse_impossible_judging(settings.rotations, settings.alpha, "study.")
