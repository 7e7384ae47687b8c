"""Whether a file of the right name is the module of that name, for sources of which only the content tells.

Lukewarm room: asked when no manifest of the file is known.
"""

__all__ = ["claims"]


def claims(name: str, path: str) -> bool:
    """Whether the file at ``path`` is the source of the module ``name``; an unreadable file is not."""
    if path.endswith(".rs"):
        from .rustsource import claims_file

        return claims_file(path)
    if path.endswith("Cargo.toml"):
        from .rustsource import claims_crate

        return claims_crate(path)
    from .csource import claims as claims_c

    return claims_c(name, path)
