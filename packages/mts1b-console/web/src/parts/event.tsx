// One event, whole: payload beside its schema, headers, who has handled it, raw, and what differs from another one.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { type Exact, readExact } from "../base/exact";
import { bytes, count, plainWords, service, subject, visible } from "../base/format";
import { useKeys } from "../base/keys";
import { address, go, param, set } from "../base/route";
import type { EventOpened, EventRow, ReaderState, Refusal } from "../shapes";
import { useSource } from "../base/source";
import { span } from "../base/time";
import { Ago, Choices, Copy, Data, Troubles, Waiting, When } from "./bits";
import { Payload, Raw, type Words } from "./tree";

type Tab = "payload" | "headers" | "readers" | "raw" | "difference";

/** A stored event that is opened by its place, `OMS_ORDERS:12044`. */
export function StoredEvent({ place, before, onClose }: { place: string; before?: string | null; onClose: () => void }) {
  const [stream = "", seq = ""] = place.split(":");
  const source = useSource<EventOpened>(`/api/events/${encodeURIComponent(stream)}/${encodeURIComponent(seq)}`, 0);
  const opened = source.data.value;
  return (
    <section class="event" aria-label={`event ${place}`}>
      {!opened?.event && (
        <header>
          <h2>{place}</h2>
          <Close onClose={onClose} />
        </header>
      )}
      {(source.error.value || opened?.unknown) && (
        <div class="content">
          <Troubles of={source} />
        </div>
      )}
      <Waiting of={source} />
      {opened?.event && <EventBody opened={opened} before={before ?? null} onClose={onClose} />}
    </section>
  );
}

const Close = ({ onClose }: { onClose: () => void }) => (
  <button type="button" class="plain" onClick={onClose} title="Esc">
    close
  </button>
);

export function EventBody({ opened, before, onClose }: { opened: EventOpened; before: string | null; onClose: () => void }) {
  const { event } = opened;
  const tab = (param("tab", "payload") || "payload") as Tab;
  const choices = [
    { value: "payload" as Tab, label: "payload" },
    { value: "headers" as Tab, label: `headers ${Object.keys(opened.headers).length}` },
    ...(opened.readers ? [{ value: "readers" as Tab, label: `handled by ${opened.readers.length}` }] : []),
    { value: "raw" as Tab, label: "raw" },
    ...(before ? [{ value: "difference" as Tab, label: "difference", title: "to the event before" }] : []),
  ];
  const around = address("/events", { around: event.t, from: shifted(event.t, -30), to: shifted(event.t, 30) });
  useKeys([
    { keys: "a", words: "what was stored ± 30 s around the event", group: "Event", run: () => go(around) },
    ...(event.trace
      ? [{ keys: "t", words: "the event's trace", group: "Event", run: () => go(`/trace/${encodeURIComponent(event.trace!)}`) }]
      : []),
  ]);
  return (
    <>
      <header>
        <h2>
          <Data>{subject(event.subject)}</Data>
        </h2>
        {event.stream && <Copy text={`mts1b events show ${event.stream}:${event.seq}`} label="copy command" />}
        <Close onClose={onClose} />
        <span class="meta">
          <span class="mono">{event.stream ? `${event.stream}:${event.seq}` : "as it passed"}</span>
          <When t={event.t} millis />
          <span class="dim">
            <Ago t={event.t} />
          </span>
          <span class="dim">{bytes(event.size)}</span>
          <Links event={event} around={around} />
        </span>
      </header>
      {event.refused && <Refused refused={event.refused} />}
      <div class="tabs">
        <Choices label="parts of the event" value={tab} choices={choices} onChoose={(value) => set({ tab: value === "payload" ? null : value })} />
      </div>
      <div class="content" tabIndex={0} role="region" aria-label={`${tab} of the event`}>
        {tab === "payload" && <PayloadTab opened={opened} />}
        {tab === "headers" && <Headers headers={opened.headers} />}
        {tab === "readers" && opened.readers && <Readers readers={opened.readers} event={event} />}
        {tab === "raw" && <RawTab opened={opened} />}
        {tab === "difference" && before && <Difference opened={opened} before={before} />}
      </div>
    </>
  );
}

function Links({ event, around }: { event: EventRow; around: string }) {
  const order = event.keys["order_id"];
  return (
    <span>
      {order && (
        <>
          <a href={`/order/${encodeURIComponent(order)}`}>order</a>
          {" · "}
        </>
      )}
      {event.trace && (
        <>
          <a href={`/trace/${encodeURIComponent(event.trace)}`}>trace</a>
          {" · "}
        </>
      )}
      {event.pattern && (
        <>
          <a href={`/subjects/${encodeURIComponent(event.pattern)}`}>subject</a>
          {" · "}
        </>
      )}
      {event.schema_id && (
        <>
          <a href={`/schemas/${encodeURIComponent(event.schema_id)}`}>{event.schema_id.split(".").pop()}</a>
          {" · "}
        </>
      )}
      <a href={around}>± 30 s</a>
    </span>
  );
}

export function Refused({ refused }: { refused: Refusal }) {
  return (
    <div class="trouble">
      <strong>✖ a strict consumer refuses it: {refused.reason.replaceAll("_", " ")}.</strong> <Data>{refused.why}</Data>
      {refused.wanted !== refused.got && (
        <p>
          wanted <code>{refused.wanted ?? "nothing: the subject is not registered"}</code> · got{" "}
          <code class="data">{refused.got ? visible(refused.got) : "no schema header"}</code>
        </p>
      )}
    </div>
  );
}

function PayloadTab({ opened }: { opened: EventOpened }) {
  const words = useMemo(() => wordsOf(opened.model), [opened.model]);
  return <Payload text={opened.payload_text} words={words} truncated={opened.truncated} size={opened.event.size} />;
}

/** What a schema says of each field, in a few words. */
export function wordsOf(model: Record<string, unknown> | null): Words {
  const properties = (model?.["properties"] ?? {}) as Record<string, { description?: string }>;
  return Object.fromEntries(
    Object.entries(properties).flatMap(([name, field]) => (field.description ? [[name, plainWords(field.description.split("\n")[0] ?? "")]] : [])),
  );
}

function Headers({ headers }: { headers: Record<string, string> }) {
  const rows = Object.entries(headers);
  if (rows.length === 0) return <p class="dim">It has no headers.</p>;
  return (
    <dl class="facts mono">
      {rows.map(([name, value]) => (
        <>
          <dt class="data">{visible(name)}</dt>
          <dd>
            <Data>{value.slice(0, 4000)}</Data>
          </dd>
        </>
      ))}
    </dl>
  );
}

const STATES: Record<ReaderState["state"], { mark: string; kind: string }> = {
  "gave up": { mark: "✗", kind: "critical strong" },
  handled: { mark: "✓", kind: "good" },
  "under way": { mark: "…", kind: "" },
  waiting: { mark: "✖", kind: "critical" },
  "before its time": { mark: "–", kind: "dim" },
};

export function Readers({ readers, event }: { readers: ReaderState[]; event: EventRow }) {
  if (readers.length === 0) return <p class="dim">No durable reads {event.pattern ?? event.subject}.</p>;
  return (
    <dl class="facts">
      {readers.map((reader) => (
        <>
          <dt>
            <a href={`/consumers/${event.stream}/${reader.durable}`}>{reader.durable}</a>
          </dt>
          <dd>
            <ReaderMark reader={reader} words /> · {service(reader.service)} · has reached {count(reader.reached)}
            {reader.behind > 0 && `, ${count(reader.behind)} behind, ${span(reader.lag_seconds)}`}
            {reader.unsettled > 0 && `, ${count(reader.unsettled)} not settled`}
            {reader.redelivered > 0 && `, ${count(reader.redelivered)} delivered again`}
            {reader.paused && ", paused"}
            {reader.pulls === 0 && <strong class="critical">, nobody reads</strong>}
          </dd>
        </>
      ))}
    </dl>
  );
}

export function ReaderMark({ reader, words = false }: { reader: ReaderState; words?: boolean }) {
  const state = STATES[reader.state];
  return (
    <span class={state.kind} title={`${reader.durable}: ${reader.state}`}>
      {words ? `${state.mark} ${reader.state}` : `${service(reader.service ?? reader.durable)} ${state.mark}`}
      {!words && <span class="unseen"> {reader.state}</span>}
    </span>
  );
}

function RawTab({ opened }: { opened: EventOpened }) {
  const { event } = opened;
  return (
    <>
      <p class="bar">
        <span>{bytes(event.size)}</span>
        <Copy text={opened.payload_text} label="copy" />
      </p>
      <Raw text={opened.payload_text} />
    </>
  );
}

/** What changed from another event: the members of the top level, one a line. */
function Difference({ opened, before }: { opened: EventOpened; before: string }) {
  const [stream = "", seq = ""] = before.split(":");
  const other = useSource<EventOpened>(`/api/events/${encodeURIComponent(stream)}/${encodeURIComponent(seq)}`, 0);
  const same = useSignal(false);
  const found = other.data.value;
  if (!found?.event) return <Troubles of={other} />;
  const [old, fresh] = [flat(readExact(found.payload_text)), flat(readExact(opened.payload_text))];
  const names = [...new Set([...old.keys(), ...fresh.keys()])];
  const changed = names.filter((name) => same.value || old.get(name) !== fresh.get(name));
  return (
    <div class="difference mono">
      <p class="bar">
        <span>
          from {before} ({subject(found.event.subject)})
        </span>
        <button type="button" aria-pressed={same.value} onClick={() => (same.value = !same.value)}>
          what stayed too
        </button>
      </p>
      {changed.length === 0 && <p class="dim">Nothing differs.</p>}
      {changed.map((name) => (
        <div key={name} class="data">
          <span class="dim">{visible(name)}</span>{" "}
          {old.get(name) === fresh.get(name) ? (
            visible(fresh.get(name) ?? "")
          ) : (
            <>
              {old.has(name) && <del>− {visible(old.get(name)!.slice(0, 500))}</del>}{" "}
              {fresh.has(name) && <ins>+ {visible(fresh.get(name)!.slice(0, 500))}</ins>}
            </>
          )}
        </div>
      ))}
    </div>
  );
}

function flat(value: Exact | null, path = "", into = new Map<string, string>()): Map<string, string> {
  if (value === null || into.size > 2_000) return into;
  if (value.kind === "object") for (const [name, member] of value.members) flat(member, path ? `${path}.${name}` : name, into);
  else if (value.kind === "list") for (const [at, item] of value.items.entries()) flat(item, `${path}[${at}]`, into);
  else into.set(path || "(whole)", value.kind === "text" ? `“${value.text}”` : value.text);
  return into;
}

function shifted(time: string, seconds: number): string {
  return new Date(Date.parse(time) + seconds * 1000).toISOString();
}
