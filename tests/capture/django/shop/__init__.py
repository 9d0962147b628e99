"""A small shop, with a model for every kind of field and relation that capture must get right."""
