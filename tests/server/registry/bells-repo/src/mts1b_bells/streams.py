"""Where the rings are stored, and who reads them."""

from mts1b_foundation.subjects.contributions import ConsumerDeclaration
from mts1b_platform.eventbus import StreamDefinition

STREAMS = (StreamDefinition(name="BELLS", subjects=("mts.v1.bells.rings.*",), description="Every ring."),)

CONSUMERS = (  # of a service that publishes nothing
    ConsumerDeclaration(durable="sexton", service="mts1b-belfry", stream="BELLS", filters=("mts.v1.bells.rings.*",)),
)
