"""Whether a file of the right name is the module of that name, for sources of which only the content tells.

Lukewarm room: asked when no manifest of the file is known.
"""

__all__ = ["claims", "found"]


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


def found(name: str, path: str) -> bool:
    """As `claims`, of a file that a search for the module has come upon by its name.

    A crate's folder may have the name of the package that its project makes: what the crate is, that project says.
    """
    return not (path.endswith("Cargo.toml") and _is_another(name, path)) and claims(name, path)


def _is_another(name: str, manifest: str) -> bool:
    """Whether the project in a crate's folder makes other modules of the crate."""
    import os

    from .projects import declared

    folder = os.path.dirname(manifest)
    # A setup.py is read with the crate.
    for asked, teller in (("pyproject.toml", "pyproject.toml"), ("setup.py", "Cargo.toml")):
        if os.path.isfile(os.path.join(folder, asked)):
            project = declared(os.path.join(folder, teller))
            modules = project.modules if project is not None else {}
            made = [one for one, (source, _, _) in modules.items() if source == manifest]
            if made:
                return name not in made and name.rpartition(".")[2] not in made
    return False
