// What happened to one order, in one trace, to one halt: what is missing first, then the timeline, then every event.
import { count, decimal, plural, service, subject } from "../base/format";
import { useKeys } from "../base/keys";
import { param, set } from "../base/route";
import { useSource } from "../base/source";
import { span } from "../base/time";
import type { Missing, OrderFacts, Story, StoryEvent } from "../shapes";
import { Age, Choices, Command, Copy, Data, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { ReaderMark, StoredEvent } from "../parts/event";
import { type Column, Table } from "../parts/table";
import { type Axis, Timeline } from "../parts/timeline";

const NAMES = { order: "order", trace: "trace", halt: "halt" } as const;

export function StoryPage({ kind, value }: { kind: keyof typeof NAMES; value: string }) {
  const source = useSource<Story>(`/api/${kind}/${encodeURIComponent(value)}`, 3000);
  const story = source.data.value;
  const open = param("open");
  const axis = (param("axis", "time") || "time") as Axis;
  useKeys([{ keys: "x", words: "axis by time or by step", run: () => set({ axis: axis === "time" ? "step" : null }) }]);
  const events = story?.events ?? [];
  const at = events.findIndex((each) => each.event.id === open);
  return (
    <>
      <div class="title">
        <h1>
          {NAMES[kind]} <span class="mono data">{value}</span>
        </h1>
        <Copy text={value} />
        <Age of={source} />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {story?.order && <Facts facts={story.order} />}
      {story?.missing?.map((each) => <Owed key={`${each.after} ${each.by}`} missing={each} />)}
      {story?.events && events.length === 0 && (
        <div class="panel">
          <Nothing title={`No event is known of this ${NAMES[kind]}.`}>
            {story.searched ? `Looked at ${count(story.searched.looked_at)} of ${count(story.searched.of)} events. ` : ""}
            Is the {NAMES[kind]} id whole? <a href={`/events?q=${encodeURIComponent(value)}`}>Search its text in all events</a>.
          </Nothing>
        </div>
      )}
      {events.length > 0 && (
        <>
          <div class="bar">
            <h2>{plural(events.length, "event")}</h2>
            <Choices
              label="axis"
              value={axis}
              choices={[
                { value: "time" as Axis, label: "by time" },
                { value: "step" as Axis, label: "by step" },
              ]}
              onChoose={(chosen) => set({ axis: chosen === "time" ? null : chosen })}
            />
            <Searched story={story!} />
          </div>
          <Timeline events={events} missing={story?.missing ?? []} axis={axis} chosen={open} onOpen={(id) => set({ open: id }, { step: !open })} />
          <div class={open ? "split open story" : "split"}>
            <Events story={story!} open={open} />
            {open && <StoredEvent key={open} place={open} before={events[at - 1]?.event.id ?? null} onClose={() => set({ open: null, tab: null })} />}
          </div>
        </>
      )}
      {story && Object.keys(story.hidden).length > 0 && (
        <section class="panel body">
          <h2>Not shown</h2>
          <dl class="facts">
            {Object.entries(story.hidden).map(([stream, why]) => (
              <>
                <dt>{stream}</dt>
                <dd>{why}</dd>
              </>
            ))}
          </dl>
        </section>
      )}
    </>
  );
}

function Facts({ facts }: { facts: OrderFacts }) {
  const bad = facts.status === "rejected";
  return (
    <section class="panel order" aria-label="the order">
      <div class="body">
        <b class={bad ? "critical" : facts.is_final ? "" : "strong"}>{facts.status.toUpperCase().replaceAll("_", " ")}</b>
        <b>
          {facts.side.toUpperCase()} {decimal(facts.quantity)} <Data>{facts.symbol}</Data>
        </b>
        <span>filled {decimal(facts.filled)}</span>
        <span>
          fund <a href={`/orders?fund=${encodeURIComponent(facts.fund)}`}>{facts.fund}</a>
        </span>
        <span>{facts.kind}</span>
        <span>broker {facts.broker}</span>
        <span class="dim">
          actor <Data>{facts.actor}</Data>
        </span>
        {facts.why && (
          <span class={bad ? "critical" : ""}>
            because: <Data>{facts.why}</Data>
          </span>
        )}
      </div>
    </section>
  );
}

const HREF: Partial<Record<Missing["kind"], (missing: Missing) => string>> = {
  gave_up: () => "/deadletters",
};

function Owed({ missing }: { missing: Missing }) {
  const consumer = missing.durable ? `/consumers/${missing.stream}/${missing.durable}` : null;
  return (
    <section class={missing.late ? "panel owed late" : "panel owed"} aria-label="what is missing">
      <div class="body">
        <h2>
          {missing.late ? <span class="critical">✖ waiting for </span> : <span>… not there yet: </span>}
          <span class={missing.late ? "critical" : ""}>
            {service(missing.by)}: {missing.words}
          </span>{" "}
          <span>
            for {span(missing.waiting_seconds)}
            {missing.usual_seconds !== null && <span class="dim"> (usually within {span(missing.usual_seconds)})</span>}
          </span>
        </h2>
        <dl class="facts">
          <dt>owes it</dt>
          <dd>
            <b>{missing.by}</b>
            {missing.lag_seconds !== null && missing.lag_seconds > 0 && <> · {span(missing.lag_seconds)} behind</>}
          </dd>
          <dt>why</dt>
          <dd>
            <Data>{missing.why}</Data>
          </dd>
          <dt>after</dt>
          <dd class="mono">
            {missing.after} → {missing.expects.map(subject).join(" or ")}
          </dd>
          <dt>next</dt>
          <dd class="next">
            <a href={`/services?open=${encodeURIComponent(missing.by)}`}>service {service(missing.by)}</a>
            {consumer && <a href={consumer}>consumer {missing.durable}</a>}
            {HREF[missing.kind] && <a href={HREF[missing.kind]!(missing)}>dead letters</a>}
            {missing.do.map((each) => (each.startsWith("mts1b") ? <Command key={each} text={each} /> : <span key={each}>{each}</span>))}
          </dd>
        </dl>
      </div>
    </section>
  );
}

function Searched({ story }: { story: Story }) {
  const { searched } = story;
  if (!searched) return null;
  return (
    <span class="dim">
      found by {searched.how}, {searched.complete ? "complete" : "not complete"}
      {searched.back_to && (
        <>
          {" "}
          back to <When t={searched.back_to} />
        </>
      )}
      {!story.readers_known && " · who has handled what is not known to your role"}
      {story.readers_known && story.events?.every((each) => each.readers?.length === 0) && " · no durable on the server reads these events now"}
    </span>
  );
}

function Events({ story, open }: { story: Story; open: string }) {
  const columns: Column<StoryEvent>[] = [
    { id: "time", head: "time", cell: (row) => <When t={row.event.t} millis /> },
    { id: "after", head: "+ ms", num: true, title: "since the event before", cell: (row) => (row.after_ms === null ? "" : `+${row.after_ms < 10 ? row.after_ms.toFixed(1) : count(Math.round(row.after_ms))}`) },
    {
      id: "subject",
      head: "subject",
      cell: (row) => (
        <span class={row.event.refused ? "critical" : ""} title={row.event.subject}>
          {row.event.refused && "✖ "}
          <Data>{subject(row.event.subject).replace(/\.fund\.[^.]+$/, "")}</Data>
        </span>
      ),
    },
    {
      id: "readers",
      head: "handled by",
      cell: (row) =>
        row.readers === null ? (
          <span class="dim">?</span>
        ) : row.readers.length === 0 ? (
          <span class="dim" title="no durable on the server reads it now">
            –
          </span>
        ) : (
          row.readers.map((reader) => (
            <span key={reader.durable}>
              <ReaderMark reader={reader} />{" "}
            </span>
          ))
        ),
    },
    { id: "what", head: "what it says", cell: (row) => <span title={row.event.summary.slice(0, 500)}><Data>{row.event.summary}</Data></span>, class: "rest" },
    { id: "by", head: "by", cell: (row) => service(row.event.by), wide: true },
    { id: "place", head: "stream:seq", cell: (row) => <span class="mono">{row.event.id}</span>, wide: true },
    { id: "link", head: "linked by", cell: (row) => <span class="dim">{row.linked_by.map((each) => each.replace(/_id$/, "")).join(" ")}</span>, wide: true },
  ];
  return (
    <Table
      main
      label="events of the story"
      rows={story.events ?? []}
      columns={columns}
      id={(row) => row.event.id}
      chosen={open}
      onOpen={(row) => set({ open: row.event.id }, { step: !open })}
      onMove={(row) => open && set({ open: row.event.id })}
      sortParam="order"
      narrow={Boolean(open)}
    />
  );
}
