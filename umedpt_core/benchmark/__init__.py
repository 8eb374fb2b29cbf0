"""The clinical benchmark: a grid of adaptations, and what its results say."""
