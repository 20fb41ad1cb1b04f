"""Show what is kept between runs, how large and how old, and remove what is not wanted any more.

python scripts/cache.py                                      # a table
python scripts/cache.py 'remove=[matchings,leftovers]' older_than=30
"""

from sae_match.commands import program

main = program("cache")

if __name__ == "__main__":
    main()
