import io

import torch
from rich.console import Console

from sae_match.matching.matching import MatcherSettings
from sae_match.report.judged.reporting import JudgeReport
from sae_match.semantics.questions import FeaturePath, Question
from sae_match.semantics.study import StudySettings


def test_the_plan_is_what_is_known_beforehand_and_the_questions_follow(tmp_path):
    console = Console(file=io.StringIO(), width=80)
    report = JudgeReport(console, tmp_path, [4, 5, 6], StudySettings(live=False, seed=7), "contexts: a text")
    report.print_plan("a/saes", [4, 5], MatcherSettings(), ["openai m", "token_overlap"])
    assert console.file.getvalue().splitlines() == [
        "Plan",
        "  SAEs     a/saes",
        "  layers   4 to 6; descendants from 4, 5",
        "  matcher  fold threshold, terms W_enc, b_enc, W_dec, mse",
        "  evidence contexts: a text",
        "  judge    openai m, then token_overlap",
        "  matches  at 5%, by 8 random targets a pair; 50 more pairs of each class",
    ]
    questions = [Question(arm, 4, 1, 5, 2, 0) for arm in ("matched", "random", "random")]
    report.print_questions([FeaturePath(0, (1, 2))], questions, {4: torch.tensor([True, False, True])})
    assert console.file.getvalue().splitlines()[7:] == [
        "Questions",
        "  paths    1 from any features of layer 4, drawn uniformly without replacement, seed 7; 2 could be drawn",
        "  in all   3: 1 matched, 2 random",
    ]
