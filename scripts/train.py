"""Train SAEs on the residual stream of any causal language model, or the bundled language model.

python scripts/train.py training=saes_16k model.source=MODEL 'training.layers=[3,4]' destination=DIR
python scripts/train.py training=saes destination=DIR                   # the bundled model's SAEs
python scripts/train.py training=language_model model.source=none destination=DIR
"""

from sae_match.commands import program

main = program("train")

if __name__ == "__main__":
    main()
