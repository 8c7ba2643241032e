"""Many budgets of one model: the curve of quality against cost, and how sensitive each group is."""
