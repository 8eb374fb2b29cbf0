"""The gradient-accumulation engine: Algorithm 1, its schedule, and the run around it."""
