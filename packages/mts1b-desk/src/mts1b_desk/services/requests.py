"""Requests to services of the desk, and their endpoints."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from mts1b_platform.eventbus import AccessDenied, BusClosed, BusError, EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, StoreError
from pydantic import BaseModel, ValidationError

from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import SERVICES, endpoint, micro_name
from mts1b_desk.settings import explain
from mts1b_desk.state.office import Office

if TYPE_CHECKING:  # nats-py is loaded by those who serve, when they begin
    from nats.micro.request import Request as MicroRequest
    from nats.micro.service import Service

R = TypeVar("R", bound=BaseModel)

Answer = Callable[[bytes], Awaitable[BaseModel]]
"""An endpoint: the request's bytes in, a document out; a DeskError becomes an error answer."""

_ERROR = "Nats-Service-Error"


class NoAnswer(DeskError):
    """A service does not answer now; it may be starting, restarting or gone."""


async def ask(
    bus: EventBus, service: str, name: str, answer: type[R], request: BaseModel | None = None, *, timeout: float = 2.0
) -> R:
    """Ask an endpoint of a service.

    Raises:
        NoAnswer: nobody answered in time.
        AccessDenied: this process may not ask it.
        BusClosed: the bus was closed.
        DeskError: the service refused, or its answer makes no sense.
    """
    subject = endpoint(service, name)
    data = request.model_dump_json().encode() if request is not None else b""
    try:
        reply = await bus.request(subject, data, timeout=timeout)
    except NoResponders:
        raise NoAnswer(f"{service} does not run on this server: nobody answers {subject}") from None
    except RequestTimeout:
        raise NoAnswer(f"{service} did not answer {subject} within {timeout:g} s") from None
    except (AccessDenied, BusClosed):
        raise
    except BusError as error:
        raise NoAnswer(f"{service} cannot be asked: {error}") from None
    if problem := reply.headers.get(_ERROR):
        raise DeskError(f"{service} refused {subject}: {problem}")
    try:
        return answer.model_validate_json(reply.data)
    except ValidationError as error:
        raise DeskError(f"{service} answered {subject} with an unexpected document: {explain(error)}") from None


async def serve_endpoints(
    bus: EventBus, service: str, metadata: dict[str, str], answers: dict[str, Answer], *, office: Office | None = None
) -> "Service":
    """Register ``service`` with NATS's service protocol and answer on its endpoints until it is stopped.

    Of several instances each is asked, and the one in ``office`` answers: were they one queue group, one that is frozen
    would be asked every other time.
    """
    from nats.micro import add_service  # pyright: ignore[reportUnknownVariableType]
    from nats.micro.service import EndpointConfig

    micro = await add_service(
        bus.nats,
        name=micro_name(service),
        version="1.0.0",
        description=f"MTS1B reference desk: {service}",
        metadata=metadata,
    )
    for name, answer in answers.items():
        group = office.member if office is not None else None
        config = EndpointConfig(
            name=name, handler=_handler(answer, office), subject=endpoint(service, name), queue_group=group
        )
        await micro.add_endpoint(config)
    await bus.nats.flush()
    return micro


async def running_desk(bus: EventBus, *, wait: float = 10.0) -> dict[str, dict[str, str]]:
    """Every desk service on the server that answers within ``wait`` seconds: name to metadata.

    Each is asked by its name. Of one that does not run the server says so at once, so a server without a desk is known
    as such without waiting.
    """

    async def metadata_of(name: str) -> dict[str, str] | None:
        try:
            reply = await bus.request(f"$SRV.PING.{name}", timeout=wait)
        except (NoResponders, RequestTimeout, AccessDenied):
            return None
        return json.loads(reply.data).get("metadata") or {}

    names = [micro_name(service) for service in SERVICES]
    answers = await asyncio.gather(*map(metadata_of, names))
    return {name: metadata for name, metadata in zip(names, answers, strict=True) if metadata is not None}


async def _holds(office: Office) -> bool:
    with suppress(StoreError):
        return office.held and await office.confirm()
    return False


def _handler(answer: Answer, office: Office | None) -> Callable[["MicroRequest"], Awaitable[None]]:
    async def handle(request: "MicroRequest") -> None:
        if office is not None and not await _holds(office):
            return  # another instance answers, or will soon
        try:
            document = await answer(request.data)
        except (DeskError, ValidationError) as error:
            text = explain(error) if isinstance(error, ValidationError) else str(error)
            await request.respond_error("400", text.replace("\n", " "))
        else:
            await request.respond(document.model_dump_json().encode())

    return handle
