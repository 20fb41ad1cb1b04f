"""Ask a judge whether matched features mean the same.

python scripts/judge.py                                     # the bundled model, without any other model
python scripts/judge.py judge=openai judge.model=gpt-4o-mini judge.limit=1   # a language model, one dollar at most
python scripts/judge.py judge=openai judge.base_url=http://localhost:8000/v1 judge.model=NAME
python scripts/judge.py sae=gemma_scope_2b_canonical judge=openai            # published descriptions, no text is read
"""

from sae_match.commands import program

main = program("judge")

if __name__ == "__main__":
    main()
