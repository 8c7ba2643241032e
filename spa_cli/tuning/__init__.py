"""Training a pruned network to give what the original gives: no labels, no training code."""
