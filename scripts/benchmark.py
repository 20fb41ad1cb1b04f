"""Measure what is claimed about the matching, the evaluation and the explorer, side by side in one run.

python scripts/benchmark.py                       # everything; about half an hour on two cores
python scripts/benchmark.py 'cases=[exact,16k]'
"""

from sae_match.commands import program

main = program("benchmark")

if __name__ == "__main__":
    main()
