"""Who publishes what: list, look up and check the registry."""

from mts1b_foundation.subjects import registry

from mts1b_platform.output import Json, noun, print_listing

app = noun(__doc__ or "")


@app.command("ls")
def ls(*, as_json: Json = False) -> None:
    """List every registered subject."""
    rows = [
        {
            "subject": subject.pattern,
            "producer": subject.producer,
            "payload": subject.schema_id,
            "tier": subject.tier.value,
            "description": subject.description,
        }
        for subject in registry()
    ]
    print_listing(rows, as_json=as_json)
