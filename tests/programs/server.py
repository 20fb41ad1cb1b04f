"""A process that has the libraries loaded, and becomes a program whenever it is asked to.

Started as `python server.py SOCKET`. For each request it forks; the child takes over the request's folder, environment
and files, and does what the interpreter would do with the same arguments. What ends it ends the interpreter as ever:
`sys.exit`, an exception, a signal. Imports of `tests` are not made here: a program knows nothing of tests.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import posix
import random
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

# Imported inside functions of the package, or parts that libraries load late.
LATE = (
    "datasets",
    "huggingface_hub",
    "lightning",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "pyarrow.parquet",
    "scipy.optimize",
    "transformers.models.gemma2.modeling_gemma2",
    "wandb.apis.public",
    "wandb.cli.cli",
    "wandb.sdk.launch.sweeps",
    "wandb_workspaces.workspaces",
)


def load() -> list[TemporaryDirectory]:
    """Import what programs import, and nothing that starts a thread of Python's.

    Returns:
        Folders that libraries have made at their import, as if one process used them.
    """
    package = importlib.import_module("sae_match")
    for name in (*(module.name for module in pkgutil.walk_packages(package.__path__, "sae_match.")), *LATE):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    # Plugins, and all that numba imports when it first loads a compiled loop.
    importlib.import_module("hydra.core.plugins").Plugins.instance()
    importlib.import_module("numba.core.registry").cpu_target.typing_context.refresh()
    importlib.import_module("numba.core.registry").cpu_target.target_context.refresh()
    # So that a child's first collection does not copy all of it.
    gc.collect()
    folders = [one for one in gc.get_objects() if type(one) is TemporaryDirectory]
    gc.freeze()
    return folders


class Server:
    """Waits for requests and for the ends of the programs that it became."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.running: dict[int, socket.socket] = {}
        self.folders: list[TemporaryDirectory] | None = None
        self.ended, self._told = os.pipe()
        os.set_blocking(self._told, False)

    def next_program(self) -> dict:
        """Returns in children only, each time with a request."""
        # Ctrl-C is for the programs.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._told)
        with selectors.DefaultSelector() as selector:
            for source in (self.listener, self.ended, sys.stdin):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is sys.stdin:
                        self._leave()
                    elif key.fileobj == self.ended:
                        self._reap()
                    elif request := self._fork():
                        return request

    def _fork(self) -> dict | None:
        """The request in the child, none in the server."""
        connection, _ = self.listener.accept()
        request = json.loads(connection.makefile().readline())
        if self.folders is None:
            self.folders = load()
        if child := os.fork():
            # Here as in the child: whoever comes first.
            os.setpgid(child, child)
            self.running[child] = connection
            connection.sendall(f"{child}\n".encode())
            return None
        # A group of its own, so that what it starts can be ended with it.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for other in (connection, *self.running.values(), self.listener):
            other.close()
        os.close(self.ended)
        os.close(self._told)
        for folder in self.folders:
            # One of its own, which goes with it.
            folder._finalizer.detach()
            folder.__init__()
        return request

    def _reap(self) -> None:
        os.read(self.ended, 1024)
        while self.running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            # Whoever asked for it may be gone.
            with self.running.pop(child) as connection, suppress(BrokenPipeError):
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def _leave(self) -> None:
        """The tests are over: nothing of theirs goes on."""
        for child in self.running:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        for folder in self.folders or []:
            folder.cleanup()
        os._exit(0)


def take_over(request: dict) -> None:
    """Folder, environment and files of a request become those of this process."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, (name, flags) in enumerate(
        [
            (os.devnull, os.O_RDONLY),
            (request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ]
    ):
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    if sys.gettrace() is not None:
        # Coverage looks on, which Hydra takes for a debugger, for which it leaves errors as they are.
        sys.modules["hydra._internal.utils"].is_under_debugger = lambda: False
    # Not the same numbers for all children.
    random.seed()
    sys.modules["numpy"].random.seed()


def interpret(arguments: list[str]) -> None:
    """What `python ARGUMENTS` does, from where the interpreter is ready on."""
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    if arguments[0] == "-c":
        sys.argv, sys.path[0], name, text = ["-c", *arguments[2:]], "", "<string>", arguments[1]
    else:
        file = Path(arguments[0]).absolute()
        sys.argv, sys.path[0], name, text = arguments, str(file.parent), str(file), file.read_text("utf-8")
        main.__file__ = name
    exec(compile(text, name, "exec"), main.__dict__)


def status_of(stop: SystemExit) -> int:
    """Exit status, as the interpreter finds it."""
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


class Leaving:
    """Ends the process when all is done that programs have registered for their end.

    What would follow is the interpreter taking everything apart that the server has loaded, which takes longer than
    many a program.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        # Registered first, so called last.
        atexit.register(self)

    def __call__(self) -> None:
        if self.status is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not `os._exit`: coverage, which has saved the program's lines by now, would save the server's with it.
            posix._exit(self.status)


if __name__ == "__main__":
    leaving = Leaving()
    asked = Server(sys.argv[1]).next_program()
    take_over(asked)
    try:
        interpret(asked["arguments"])
        leaving.status = 0
    except SystemExit as stop:
        leaving.status = status_of(stop)
        raise
