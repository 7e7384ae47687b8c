"""A package whose inner part is Rust."""

from ._native import add_two

__all__ = ["add_two"]
