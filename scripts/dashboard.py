"""Lay out a W&B workspace for validations: overview, folding, ladder, persistence, pairs.

python scripts/dashboard.py runs=outputs/validate       # online where W&B has credentials, else as a file
python scripts/dashboard.py runs=DIR logger.entity=NAME logger.project=NAME
"""

from sae_match.commands import program

main = program("dashboard")

if __name__ == "__main__":
    main()
