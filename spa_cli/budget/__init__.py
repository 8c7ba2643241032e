"""What a model costs, and which channels go to meet a budget."""
