"""Match the SAEs of adjacent layers and validate the matchings on text.

python scripts/validate.py                                  # the bundled model
python scripts/validate.py matcher=unfolded text.documents=16
python scripts/validate.py -m matcher=folded,unfolded       # a sweep
python scripts/validate.py experiment=gemma_2_2b            # the paper's model
python scripts/validate.py experiment=gemma_2_2b check=true # what that would need and take; runs nothing
"""

from sae_match.commands import program

main = program("validate")

if __name__ == "__main__":
    main()
