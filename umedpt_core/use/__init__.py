"""Using a model: pictures of its predictions."""
