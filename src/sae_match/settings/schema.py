"""What a validation or a training can be told."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from omegaconf import MISSING

from sae_match.errors import UserError, shown
from sae_match.evaluation.groups.settings import GroupSettings
from sae_match.evaluation.provenance.settings import ProvenanceSettings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.steering.settings import SteeringSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.saes.settings import SAESettings
from sae_match.semantics.settings import ContextSettings, DescriptionSettings
from sae_match.text.settings import TextSettings

# Lightning's names of the precision that changes nothing.
_EXACT = ("32-true", "32")


# Arguments of Lightning's that a program sets by itself, or that have nothing to act on here, with what to do instead.
_INSTEAD = {
    "logger": "choose logger=wandb, offline, csv or none",
    "callbacks": "a program makes its own",
    "default_root_dir": "a run writes to output_dir",
    "plugins": "a program finds by itself how its processes were started",
    "enable_progress_bar": "set trainer.progress",
    "enable_checkpointing": "a training keeps what training.checkpoint_every says",
    "model_registry": "nothing here is put into a registry",
    "use_distributed_sampler": "batches are dealt out without repetition, as results want it",
    "reload_dataloaders_every_n_epochs": "texts are the same throughout",
    "sync_batchnorm": "no model here has batch normalisation",
    "max_epochs": "a training takes training.steps",
    "min_epochs": "a training takes training.steps",
    "max_steps": "a training takes training.steps",
    "min_steps": "a training takes training.steps",
    "max_time": "end a program with Ctrl-C or SIGTERM; the same command goes on from there",
    "fast_dev_run": "take experiment=quick, or trainer.limit_val_batches=1",
    "overfit_batches": "take fewer documents (text.documents)",
    "limit_train_batches": "a training takes training.steps",
    "limit_test_batches": "no program tests; trainer.limit_val_batches is for validations",
    "limit_predict_batches": "no program predicts; trainer.limit_val_batches is for validations",
    "num_sanity_val_steps": "a training measures before its first step anyway",
    "val_check_interval": "a training measures as its recipe says",
    "check_val_every_n_epoch": "a training measures as its recipe says",
    "accumulate_grad_batches": "set training.batch",
    "gradient_clip_val": "a training clips as its recipe says",
    "gradient_clip_algorithm": "a training clips as its recipe says",
}
# Of the fields below, those that are no arguments of Lightning's, or are passed to it in another form.
_OWN = ("accelerator", "devices", "strategy", "precision", "progress", "profiler")


@dataclass
class TrainerSettings:
    """Lightning's trainer: every argument of its own, by its own name.

    Arguments that are not set are as the program or Lightning has them; those that cannot work are refused with what to
    do instead.

    Attributes:
        accelerator: `auto`, `cpu`, `gpu`, …
        devices: Number of devices, or `auto`.
        strategy: `auto`, `ddp`, …; none that starts processes by `spawn` or `fork`, which would have to be told all
            that was opened.
        precision: Lightning's precision, of trainings; the model's own dtype is set with the model.
        progress: Whether a progress bar is shown.
        num_nodes: Machines, with as many devices each.
        limit_val_batches: How many batches of each pass of a validation, or which share of them, are read.
        profiler: `simple`, `advanced` or `pytorch`; writes `*profile*` into the run's folder.
    """

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    precision: str = "32-true"
    progress: bool = True
    num_nodes: int = 1
    limit_val_batches: Any = None
    profiler: str | None = None
    log_every_n_steps: int | None = None
    enable_model_summary: bool | None = None
    deterministic: Any = None
    benchmark: bool | None = None
    inference_mode: bool | None = None
    detect_anomaly: bool | None = None
    barebones: bool | None = None
    enable_autolog_hparams: bool | None = None
    logger: Any = None
    callbacks: Any = None
    default_root_dir: Any = None
    plugins: Any = None
    enable_progress_bar: Any = None
    enable_checkpointing: Any = None
    model_registry: Any = None
    use_distributed_sampler: Any = None
    reload_dataloaders_every_n_epochs: Any = None
    sync_batchnorm: Any = None
    max_epochs: Any = None
    min_epochs: Any = None
    max_steps: Any = None
    min_steps: Any = None
    max_time: Any = None
    fast_dev_run: Any = None
    overfit_batches: Any = None
    limit_train_batches: Any = None
    limit_test_batches: Any = None
    limit_predict_batches: Any = None
    num_sanity_val_steps: Any = None
    val_check_interval: Any = None
    check_val_every_n_epoch: Any = None
    accumulate_grad_batches: Any = None
    gradient_clip_val: Any = None
    gradient_clip_algorithm: Any = None

    def __post_init__(self) -> None:
        for name, instead in _INSTEAD.items():
            if (value := getattr(self, name)) is not None:
                raise UserError(f"trainer.{name}={value} is not for these programs: {instead}")
        if any(way in self.strategy for way in ("spawn", "fork", "notebook")):
            raise UserError(f"trainer.strategy={self.strategy} is not supported: take ddp")
        if self.num_nodes < 1:
            raise UserError(f"trainer.num_nodes must be at least 1, got {self.num_nodes}")
        refuse_impossible_limit(self.limit_val_batches)

    def given(self) -> dict[str, Any]:
        """Arguments of Lightning's by their names, as far as they are set and go there as they are."""
        names = (field.name for field in fields(self) if field.name not in _OWN)
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def refuse_impossible_limit(limit: object) -> None:
    """Check a number of batches, or a share of them.

    Raises:
        UserError: If nothing would be read, or it is neither.
    """
    if limit is None:
        return
    number = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1
    if not number and not (isinstance(limit, float) and 0 < limit <= 1):
        raise UserError(
            f"trainer.limit_val_batches={limit} must be a number of batches from 1 on (an integer), or a share of them "
            "above 0 and up to 1 (with a point, as in 0.5)"
        )


@dataclass
class ValidateSettings:
    """Everything that `scripts/validate.py` can be told.

    Attributes:
        target: Another collection, whose SAEs pairs lead to; none for pairs within `sae`.
        target_model: Another language model, which the SAEs that pairs lead to read; none where all read `model`.
            Without a `target` the SAEs of `sae` read both.
        mlp: SAEs of what MLPs add: with them, or with `attention`, it is asked where the features of `sae` come from.
        attention: SAEs of attention heads before they are projected, or of what attention adds.
        provenance: What else is told of that.
        steering: Features whose directions are added, in place of a validation; by default none.
        groups: Features that are grouped over layers, in place of a validation; by default none.
        pairs: Pairs of layers such as `[[3,3],[3,4]]`, in place of those that follow from `evaluation.spans`; of two
            collections in place of the layers that both have, each with itself.
        output_dir: Where the run leaves its files.
        cache_dir: Folder in which matchings are kept between runs; `matchings` in the user's cache folder if none
            is given. Beside it stand `validations`, what unfinished runs go on from, and `neuronpedia`, descriptions.
        check: Only say what the run would need and take, and what is missing.
    """

    model: ModelSettings
    sae: SAESettings
    matcher: MatcherSettings
    text: TextSettings
    evaluation: EvaluationSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    report: ContextSettings = field(default_factory=ContextSettings)
    descriptions: DescriptionSettings = field(default_factory=DescriptionSettings)
    target: SAESettings | None = None
    target_model: ModelSettings | None = None
    mlp: SAESettings | None = None
    attention: SAESettings | None = None
    provenance: ProvenanceSettings = field(default_factory=ProvenanceSettings)
    steering: SteeringSettings = field(default_factory=SteeringSettings)
    groups: GroupSettings = field(default_factory=GroupSettings)
    pairs: Any = None
    output_dir: str = MISSING
    cache_dir: str | None = None
    check: bool = False

    @property
    def models(self) -> tuple[str, str] | None:
        """Where the two language models come from, if there are two."""
        return None if self.target_model is None else (self.model.source, self.target_model.source)

    @property
    def steers(self) -> bool:
        """Whether directions are added or features grouped, in place of a validation."""
        return bool(self.steering.features) or self.groups.asked

    @property
    def modules(self) -> dict[str, SAESettings]:
        """SAEs of what modules add, by the module."""
        return {name: one for name, one in (("mlp", self.mlp), ("attention", self.attention)) if one is not None}

    def __post_init__(self) -> None:
        if self.modules and (self.target is not None or self.target_model is not None):
            raise UserError("where features come from is asked of one collection: leave target and target_model out")
        if self.steers and (self.modules or self.target is not None or self.target_model is not None):
            raise UserError("steering and groups are of one collection: leave target, target_model, mlp, attention out")
        if self.modules and not self.evaluation.rotations:
            raise UserError("which rows are alike is judged against chance: set evaluation.rotations to at least 1")
        if self.pairs is not None:
            self.evaluation = replace(self.evaluation, pairs=self.pairs)
        for name in self.evaluation.prefers or []:
            if name not in self.text.datasets:
                there = ", ".join(self.text.datasets)
                raise UserError(f"evaluation.prefers: there is no dataset {shown(name)}; text has {there}")
        if str(self.trainer.precision) not in _EXACT:
            raise UserError(
                f"trainer.precision={self.trainer.precision} would change what a validation measures: leave it at "
                "32-true; model.dtype=bfloat16 says what the model itself is run in"
            )


@dataclass
class TrainSettings:
    """Everything that `scripts/train.py` can be told.

    Attributes:
        training: Settings of the training that is run: of a language model or of SAEs.
        destination: Folder that the trained model or SAEs are written to.
    """

    model: ModelSettings
    text: TextSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    training: Any = MISSING
    destination: str = MISSING
    output_dir: str = MISSING
