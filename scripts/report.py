"""Compare finished validations: tables and pictures of any number of runs.

python scripts/report.py runs=multirun/validate/DATE/TIME           # the jobs of a sweep
python scripts/report.py 'runs=[outputs/validate/DATE,DIR]'         # every run below some folders
python scripts/report.py runs=DIR 'arms=[matched,nearest]' 'metrics=[jaccard]'
"""

from sae_match.commands import program

main = program("report")

if __name__ == "__main__":
    main()
