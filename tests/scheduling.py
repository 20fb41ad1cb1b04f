"""Which tests go to a worker together."""

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling


class BySharedFixtures(LoadScopeScheduling):
    """One test at a time, but the tests of a file, or folder, that share a fixture of its own go together.

    pytest-xdist's `loadgroup` is for that, and does nothing with the pytest of the lock.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(self.config.rootpath, nodeid.split("::", maxsplit=1)[0])
        for folder in file.parents:
            if folder == self.config.rootpath:
                break
            if shares(folder / "conftest.py", "package"):
                return str(folder)
        return str(file) if shares(file, "module") else nodeid


@cache
def shares(file: Path, scope: str) -> bool:
    """Whether a file defines a fixture of a scope."""
    return file.is_file() and f'fixture(scope="{scope}"' in file.read_text("utf-8")
