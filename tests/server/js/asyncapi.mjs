// Reads an AsyncAPI document on standard input, prints what the official parser says of it and finds in it.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const problems = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("."), severity }));
const channels = document?.channels().all() ?? [];
console.log(
  JSON.stringify({
    problems,
    version: document?.version(),
    addresses: channels.map((channel) => channel.address()),
    senders: (document?.operations().all() ?? []).map((operation) => [
      operation.tags().all()[0].name(),
      operation.channels().all()[0].address(),
    ]),
    messages: Object.fromEntries(
      (document?.messages().all() ?? []).map((message) => [message.name(), Object.keys(message.payload().properties())]),
    ),
  }),
);
