"""The files of a dataset on the Hugging Face hub, listed without a download."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from huggingface_hub import HfApi

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.text.files import HUB, TextFile, format_of, some_names

# Seconds until the hub counts as out of reach.
_PATIENCE = 20.0

# Where datasets keep their files if nobody says otherwise, the commonest first.
_WITH_CONFIG = ("{config}/{split}-*", "{config}/{split}/*", "data/{config}/{split}-*", "data/{config}/{split}/*")
_WITHOUT_CONFIG = ("data/{split}-*", "data/{split}/*", "{split}-*", "{split}/*", "{split}.*", "default/{split}/*")


def dataset_files(
    name: str, revision: str | None, data_files: Sequence[str], config: str | None, split: str
) -> tuple[str, list[TextFile]]:
    """Commit and files of a dataset: one question to the hub, two where it is gated, and no download.

    Args:
        name: `owner/name`.
        revision: Commit, tag or branch; the main branch by default.
        data_files: Patterns of their paths, in which `*` stands for anything, `/` too. Where there are
            none, `config` and `split` are looked for in the usual places.
        config: Folder of a part of the dataset, as `wikitext-103-raw-v1`.
        split: Split, as `train`.

    Raises:
        UserError: If the hub cannot be reached or refuses, or the dataset has no such files.
    """
    where = f"dataset {name}" + (f" at revision {revision}" if revision else "")
    api = HfApi()
    with hub_errors(where):
        info = api.dataset_info(name, revision=revision, files_metadata=True, timeout=_PATIENCE)
        if info.gated:
            api.auth_check(name, repo_type="dataset")
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or [] if format_of(sibling.rfilename)}
    chosen = _chosen(sorted(sizes), data_files, config, split)
    if not chosen:
        wanted = " or ".join(map(repr, data_files)) or f"of split {split!r}" + (f" of {config!r}" if config else "")
        raise UserError(
            f"{where} has no Parquet, JSON-lines or text file {wanted}; it has {some_names(sorted(sizes))} "
            "(choose with text.datasets.NAME.data_files=[…])"
        )
    commit = info.sha or revision or "main"
    root = f"{HUB}datasets/{name}@{commit}"
    return commit, [TextFile(file, f"{root}/{file}", sizes[file]) for file in chosen]


def _chosen(names: Sequence[str], data_files: Sequence[str], config: str | None, split: str) -> list[str]:
    if data_files:
        return _matching(names, data_files)
    places = _WITH_CONFIG if config else _WITHOUT_CONFIG
    found = (_matching(names, [place.format(config=config, split=split)]) for place in places)
    return next(filter(None, found), [])


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
