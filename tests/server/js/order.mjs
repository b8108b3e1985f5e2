// A client in another language: reads one order from the stream, then publishes one of its own.
//   node order.mjs <server> read       prints {subject, headers, order} of the last order in OMS_ORDERS
//   node order.mjs <server> publish    publishes the order given as JSON on standard input, with the documented headers
import { readFileSync } from "node:fs";
import { connect, headers } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const [server, verb] = process.argv.slice(2);
const connection = await connect({ servers: server });
const subject = "mts.v1.oms.orders.created";

if (verb === "read") {
  const manager = await jetstreamManager(connection);
  await manager.consumers.add("OMS_ORDERS", { durable_name: "another-language", ack_policy: "explicit" });
  const consumer = await jetstream(connection).consumers.get("OMS_ORDERS", "another-language");
  const message = await consumer.next({ expires: 5000 });
  const found = Object.fromEntries([...message.headers].map(([name, values]) => [name, values[0]]));
  console.log(JSON.stringify({ subject: message.subject, headers: found, order: message.json() }));
  await message.ackAck();
} else {
  const order = readFileSync(0, "utf8");
  const { idempotency_key: key, actor } = JSON.parse(order);
  const envelope = headers();
  // in an order of its own, and one header that the bus does not know
  envelope.set("mts-actor", actor);
  envelope.set("x-client", "node");
  envelope.set("mts-schema", "mts1b_foundation.orders.Order:v1");
  envelope.set("Nats-Msg-Id", key);
  envelope.set("mts-source-repo", "mts1b-oms");
  envelope.set("content-type", "application/json");
  envelope.set("mts-trace-id", "0af7651916cd43dd8448eb211c80319c");
  const ack = await jetstream(connection).publish(subject, order, { headers: envelope });
  console.log(JSON.stringify({ stream: ack.stream, seq: ack.seq, duplicate: ack.duplicate }));
}
await connection.drain();
