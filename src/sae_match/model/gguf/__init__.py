"""Language models in GGUF files: one file with config, tokenizer and weights."""
