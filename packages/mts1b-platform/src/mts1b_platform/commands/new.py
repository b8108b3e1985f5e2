"""Make a new repo on the bus: subject, service, tests, CI, ready to run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mts1b_platform.output import Json, noun, print_json, say

app = noun(__doc__ or "", verbs=False)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What it is called, such as alpha: makes mts1b-alpha.")],
    *,
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder in which its folder is made.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a repo of its own, whose `make check` passes as it stands.

    It has a subject with payload and sample, a stream, a durable, a service with two handlers, tests, CI and hooks.

    Example: mts1b new alpha --into ~/src
    """
    from mts1b_platform.scaffold import make_repo

    sys.dont_write_bytecode = True  # what is imported to be checked leaves nothing in the new repo
    made, written = make_repo(name, into)
    root = into.resolve() / made.repo
    files = [str(path.relative_to(root)) for path in written]
    if as_json:
        print_json({"repo": made.repo, "folder": str(root), "files": files})
        return
    say(f"wrote {len(files)} files in {root}:")
    for file in files:
        say(f"  {file}")
    say()
    say(f"next: cd {root} && git init && make check")
    say(f"it publishes mts.v1.{made.token}.trades.noted and speaks as {made.repo}; `make help` lists the rest")
