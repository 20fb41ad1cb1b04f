"""Match the SAEs of pairs of layers, from the weights alone: no language model, no text.

python scripts/match.py                                     # adjacent layers of the bundled model
python scripts/match.py pairs=all                           # every pair, and chains against direct matchings
python scripts/match.py 'pairs=[[0,1],[2,5]]' matcher=cosine
python scripts/match.py -m hydra/launcher=processes pairs=all shards=2 shard=0,1
"""

from sae_match.commands import program

main = program("match")

if __name__ == "__main__":
    main()
