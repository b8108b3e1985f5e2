"""The store that the settings of a run ask for."""

from pathlib import Path

from mts1b_desk.settings import DeskSettings, Durability
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_desk.state.store import Store

SERVICE = "{service}"


def make_store(service: str, repo: str, settings: DeskSettings, directory: Path) -> Store:
    """The store of ``service``: in memory, in ``settings.database``, or a file in ``directory``."""
    actor = f"desk-{settings.session}"
    if settings.durability is Durability.RELAXED:
        from mts1b_desk.state.memory import MemoryStore

        return MemoryStore(repo=repo, actor=actor)
    if settings.database is None:
        directory.mkdir(parents=True, exist_ok=True)
        return SqliteStore(directory / f"{service}.db", session=settings.session, repo=repo, actor=actor)
    from mts1b_desk.state.postgres import PostgresStore  # slow to import

    url = settings.database.replace(SERVICE, service)
    return PostgresStore(url, session=settings.session, repo=repo, actor=actor)
