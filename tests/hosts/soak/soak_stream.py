"""What the stream holds in the end, as another library reads it."""

import ssl
from typing import Final

import nats
import nats.errors
from mts1b_deploy.permissions import ADMIN
from nats.js.api import AckPolicy, ConsumerConfig
from soak_nodes import NAMES, Nodes

STREAM: Final = "OMS_ORDERS"
_ATTEMPTS: Final = 5
_PATIENCE: Final = 15.0


async def read_stream(nodes: Nodes) -> list[bytes]:
    """Every payload in its order, read by nats-py past the wires; once more when a leader changes meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            return await _read(nodes)
        except (nats.errors.Error, TimeoutError) as error:
            print(f"the stream is read again: {error!r}", flush=True)
    return await _read(nodes)


async def _read(nodes: Nodes) -> list[bytes]:
    context = ssl.create_default_context(cafile=nodes.pki.ca)
    context.load_cert_chain(nodes.pki.pem(ADMIN))
    client = await nats.connect(
        f"tls://127.0.0.1:{nodes.servers[NAMES[0]].port}", tls=context, inbox_prefix=f"_INBOX_{ADMIN}"
    )
    try:
        js = client.jetstream(timeout=_PATIENCE)
        total = (await js.stream_info(STREAM)).state.messages
        reader = await js.pull_subscribe(
            "mts.v1.oms.orders.>", stream=STREAM, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
        )
        stored: list[bytes] = []
        while len(stored) < total:
            stored += [message.data for message in await reader.fetch(500, timeout=_PATIENCE)]
    finally:
        await client.close()
    return stored
