"""``autoaccel completion``: the script by which a shell completes autoaccel's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_WHERE = {
    "bash": 'eval "$(autoaccel completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(autoaccel completion zsh)"  # in ~/.zshrc',
    "fish": "autoaccel completion fish | source  # in ~/.config/fish/config.fish",
}


@click.command(
    short_help="Print the script that has a shell complete the words of `autoaccel`.",
    epilog="To have it in each shell: " + "; ".join(_WHERE.values()),
)
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(shell: str) -> int:
    """Print the script that has SHELL complete the words of `autoaccel`."""
    found = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if found is not None:
        click.echo(found(root, {}, "autoaccel", "_AUTOACCEL_COMPLETE").source())
    return 0
