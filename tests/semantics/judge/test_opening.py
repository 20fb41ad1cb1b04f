"""Each judge brings in what it needs, and nothing is needed for the default."""

import subprocess
import sys

OPENED = """
import sys
from pathlib import Path
{before}
from sae_match.semantics.judge import JudgeSettings, open_judge
try:
    open_judge(JudgeSettings({kind!r}, "m"), Path("nowhere"))
except ValueError as error:
    print(error)
print(*sorted({{"openai", "transformers", "lightning"}} & {{name for name in sys.modules if sys.modules[name]}}))
"""


def opened(kind, before=""):
    command = [sys.executable, "-c", OPENED.format(kind=kind, before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_default_brings_in_no_client_and_no_framework():
    assert opened("token_overlap") == [""]


def test_a_missing_client_is_said_with_its_remedy():
    message, brought_in = opened("openai", "sys.modules['openai'] = None")
    assert message == "judge=openai needs the package openai: pip install 'sae-match[judge]'"
    assert brought_in == ""
