"""What a significance can be told, refused where it cannot be; imports nothing heavy."""

from typing import Literal

from sae_match.errors import UserError, shown

Null = Literal["second_moment", "rotation"]
Statistic = Literal["mean", "encoder", "decoder"]
NULLS: tuple[Null, ...] = ("second_moment", "rotation")
STATISTICS: tuple[Statistic, ...] = ("mean", "encoder", "decoder")

#: Random targets unless told.
ROTATIONS = 8
#: Dictionaries of more features than this are judged by a sample of their rows, of so many.
WIDE, SAMPLED_ROWS = 32_768, 8_192
#: Matchings besides those against random targets: by encoders alone, and by decoders alone.
BY_PARTS = 2


def refuse_unknown(null: str, statistic: str) -> None:
    """Refuse a null or a statistic that there is not.

    Raises:
        UserError: If one does not exist.
    """
    if null not in NULLS:
        raise UserError(f"unknown null {shown(null)}; there are {', '.join(NULLS)}")
    if statistic not in STATISTICS:
        raise UserError(f"unknown statistic {shown(statistic)}; there are {', '.join(STATISTICS)}")


def refuse_impossible_counts(rotations: int, seed: int, rows: int | None = None) -> None:
    """Refuse numbers of random targets, seeds and sampled rows that cannot be.

    Raises:
        UserError: If one cannot be.
    """
    for name, value, least in (("rotations", rotations, 1), ("seed", seed, 0), ("rows", rows, 1)):
        if value is None and name == "rows":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{name} must be a whole number, at least {least}, got {shown(value)}")


def random_targets_of(rotations: int, relations: bool) -> int:
    """Random targets that each matching is judged against: relations need some, asked for or not."""
    return rotations or (ROTATIONS if relations else 0)


def refuse_impossible_judging(rotations: int, alpha: float, where: str = "") -> None:
    """Refuse what a program cannot be told of significance.

    Args:
        rotations: Random targets; zero for none, which judges nothing.
        alpha: Level.
        where: What the settings' names begin with.

    Raises:
        UserError: If there are fewer than none, or the level is none.
    """
    if rotations < 0:
        raise UserError(f"{where}rotations must be at least 0, got {rotations}")
    refuse_impossible_alpha(alpha, f"{where}alpha")


def refuse_impossible_alpha(alpha: float, name: str = "alpha") -> None:
    """Refuse a level that is none.

    Raises:
        UserError: If it is not between 0 and 1.
    """
    if not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise UserError(f"{name} must lie between 0 and 1, without either, got {shown(alpha)}")


def rows_of(features: int) -> int | None:
    """Source features that look for a partner in each random target; none where that is all of them.

    A sample is drawn anew for each target. Its resolution is coarser, and it is a little strict.
    """
    return SAMPLED_ROWS if features > WIDE else None
