"""OBSPA: second-order saliency and closed-form repair from activations (Wang et al., arXiv 2403.18955, Section 3.3)."""
