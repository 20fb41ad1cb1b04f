"""What documents say that can be checked: links, and commands of this project's programs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from sae_match.commands import PROGRAMS
from sae_match.errors import UserError
from sae_match.settings.entry import register, typed
from tests.conftest import ROOT

CONF = ROOT / "conf"
#: Folders of the repository that hold documents; beside them may lie environments and outputs.
FOLDERS = (".ci", ".github", "conf", "scripts", "src", "tests")
_FENCE = re.compile(r"^ *(```+|~~~+).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s+(\S+)|(?:href|src)=\"([^\"]+)\"", re.MULTILINE
)
_COMMAND = re.compile(
    r"(?:^|&& |^\$ )(?:[A-Z_]+=\S+ )*"
    r"(?:python scripts/(?P<script>\w+)\.py|sae-match (?P<command>[a-z]\w*))(?P<told>[^&\n]*)"
)


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted([*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))])


def wrong_links(text: str, file: Path) -> list[str]:
    """What the relative links of a document name that is not there.

    Args:
        file: Where the document lies, or would lie.
    """
    wrong = []
    for found in _LINK.finditer(_SPAN.sub("", _FENCE.sub("", text))):
        link = next(part for part in found.groups() if part)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = file.parent / path
        if path and not target.exists():
            wrong.append(f"{link}: there is no {path}")
        elif anchor and anchor not in anchors(target.read_text("utf-8") if path else text):
            wrong.append(f"{link}: no heading is called so")
    return wrong


def anchors(text: str) -> set[str]:
    """What headings of a document are called in links to them, as GitHub calls them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *#*$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
        if found[name]:
            found[f"{name}-{found[name]}"] = 0
    return {*found, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)}


@dataclass(frozen=True)
class Command:
    """A line that starts a program: its name and what it is told."""

    name: str
    told: tuple[str, ...]
    line: str


def commands(text: str) -> Iterator[Command]:
    """Commands in the code of a document: each line of a block, and each span that begins with one."""
    blocks = [match.group(0) for match in _FENCE.finditer(text)]
    spans = [match.group(2).replace("\n", " ") for match in _SPAN.finditer(_FENCE.sub("", text))]
    for line in (*"\n".join(blocks).replace("\\\n", " ").splitlines(), *spans):
        for found in _COMMAND.finditer(line.strip()):
            told = tuple(shlex.split(found["told"], comments=True))
            yield Command(found["script"] or found["command"], told, line.strip())


def wrong_commands(text: str, folder: Path) -> list[str]:
    """What the commands of a document are told that their programs do not know.

    Words in capitals (`DIR`, `DATE/TIME`) stand for a user's own, and are values as any other; a variable of the shell
    (`$l0`) stands for 1. `…` is left out, and so is what is set to `…`; its name must be known. `[…]` around a word
    says that it may be left out, and so it is. A folder of `--config-dir` has a choice `sae=trained`.

    Args:
        folder: An empty one, for such a folder.
    """
    trained = folder / "sae" / "trained.yaml"
    trained.parent.mkdir(exist_ok=True)
    trained.write_text("defaults: [bundled]\n")
    return [f"{one.line}: {reason}" for one in commands(text) if (reason := why_wrong(one, folder))]


def why_wrong(command: Command, config_folder: Path) -> str | None:
    """Why a command would be refused; none if it would not be."""
    if command.name not in PROGRAMS:
        return _why_wrong_plain(command)
    words = [re.sub(r"\$\w+", "1", word) for word in command.told if not re.fullmatch(r"\[.*\]|…", word)]
    parsed = get_args_parser().parse_args(words)
    open_names = [word.removesuffix("=…").lstrip("+") for word in parsed.overrides if word.endswith("=…")]
    told = [word for word in parsed.overrides if not word.endswith("=…")]
    searched = [f"hydra.searchpath=[file://{config_folder}]"] if parsed.config_dir else []
    try:
        for job in jobs(told, sweeps=parsed.multirun):
            config = composed(command.name, (*job, *searched))
    except (HydraException, UserError) as error:
        return str(error).splitlines()[0]
    unknown = [name for name in open_names if not is_known(config, name)]
    return f"there is no {', '.join(unknown)}" if unknown else None


def _why_wrong_plain(command: Command) -> str | None:
    """The same of a script that Hydra does not start: its options stand in it."""
    script = ROOT / "scripts" / f"{command.name}.py"
    if not script.is_file():
        return "there is no such program"
    options, text = [word for word in command.told if word.startswith("-")], script.read_text("utf-8")
    if command.told and not options:
        return f"{command.name}.py takes options alone"
    unknown = [option for option in options if f'"{option}"' not in text]
    return f"there is no {', '.join(unknown)}" if unknown else None


def jobs(overrides: list[str], sweeps: bool) -> list[list[str]]:
    """What each job of a sweep is told; of a run, what it is told."""
    if not sweeps:
        return [overrides]
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), None)[0]


@cache
def composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    """The config of a program that is told something, with Hydra's; refused as the program refuses it."""
    one = PROGRAMS[name]
    register(**{name: one.settings}, **one.choices)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        whole = compose(name, [*overrides, "output_dir=there"], return_hydra_config=True)
    # What `compose` would give without Hydra's own.
    settings = whole.copy()
    with open_dict(settings):
        del settings["hydra"]
    typed(settings, one.settings)
    return whole


def is_known(config: DictConfig, name: str) -> bool:
    """Whether a config has a group or a setting of a name."""
    above, _, last = name.rpartition(".")
    place = OmegaConf.select(config, above) if above else config
    return name in config.hydra.runtime.choices or (OmegaConf.is_dict(place) and last in list(place))
