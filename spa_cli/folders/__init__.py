"""Model folders as they ship: a model, what says how wide it is, a tokenizer; pruned as one, written as one."""
