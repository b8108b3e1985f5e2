"""What the stream holds in the end, as another library reads it."""

import ssl
from typing import Final

import nats
from mts1b_deploy.permissions import ADMIN
from nats.js.api import AckPolicy, ConsumerConfig
from soak_nodes import NAMES, PATIENCE, Nodes

STREAM: Final = "OMS_ORDERS"


async def read_stream(nodes: Nodes) -> list[bytes]:
    """Every payload in its order, read by nats-py past the wires."""
    context = ssl.create_default_context(cafile=nodes.pki.ca)
    context.load_cert_chain(nodes.pki.pem(ADMIN))
    client = await nats.connect(
        f"tls://127.0.0.1:{nodes.servers[NAMES[0]].port}", tls=context, inbox_prefix=f"_INBOX_{ADMIN}"
    )
    try:
        js = client.jetstream(timeout=PATIENCE)
        total = (await js.stream_info(STREAM)).state.messages
        reader = await js.pull_subscribe(
            "mts.v1.oms.orders.>", stream=STREAM, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
        )
        stored: list[bytes] = []
        while len(stored) < total:
            stored += [message.data for message in await reader.fetch(500, timeout=PATIENCE)]
    finally:
        await client.close()
    return stored
