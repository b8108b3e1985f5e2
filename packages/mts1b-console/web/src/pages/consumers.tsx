// Who reads what, how far behind, since when nobody does.
import { count, plural, service, subject } from "../base/format";
import { useKeys } from "../base/keys";
import { me } from "../base/me";
import { go, param } from "../base/route";
import { type Source, useSource } from "../base/source";
import { now, parse, span } from "../base/time";
import type { Consumer, Consumers, Groups, Office } from "../shapes";
import { Age, Ago, Command, Data, For, isDenied, Nothing, Spark, Troubles, Waiting, When } from "../parts/bits";
import { Chart } from "../parts/chart";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";

const idOf = (row: Consumer): string => `${row.stream}/${row.consumer}`;

/** In words: is somebody there, and does it get on? */
function state(row: Consumer): { words: string; kind: string } {
  if (row.reading === "paused") return { words: "paused on purpose", kind: "warning" };
  if (row.reading === "nobody" && row.messages > 0) return { words: "✖ nobody reads", kind: "critical strong" };
  if (row.seconds > 30) return { words: "▲ behind", kind: "warning strong" };
  if (row.reading === "nobody") return { words: "nobody reads, nothing waits", kind: "dim" };
  return { words: row.reading === "at work" ? "● at work" : "● reads", kind: "good" };
}

export function ConsumersPage({ chosen }: { chosen: string }) {
  const source = useSource<Consumers>("/api/consumers", 2000);
  const found = source.data.value;
  const rows = found?.consumers ?? null;
  const groups = useSource<Groups>("/api/groups", 3000);
  const offices = groups.data.value?.groups ?? null;
  const open = rows?.find((row) => idOf(row) === chosen);
  const q = param("q");
  const ranked = kept(rows ?? [], q, (row) => `${idOf(row)} ${row.service} ${row.filters.join(" ")} ${state(row).words}`).sort(
    (one, other) => other.seconds - one.seconds || idOf(one).localeCompare(idOf(other)),
  );
  const columns: Column<Consumer>[] = [
    { id: "state", head: "state", cell: (row) => <span class={state(row).kind}>{state(row).words}</span>, sort: (row) => state(row).words },
    { id: "consumer", head: "consumer", cell: (row) => <b>{row.consumer}</b>, sort: (row) => row.consumer },
    { id: "stream", head: "stream", cell: (row) => row.stream, sort: (row) => row.stream },
    { id: "service", head: "read by", cell: (row) => (row.service ? service(row.service) : <span class="dim">nobody says</span>), sort: (row) => row.service },
    { id: "behind", head: "behind", num: true, cell: (row) => <span class={row.seconds > 30 ? "critical strong" : ""}>{row.seconds === 0 ? "0 s" : span(row.seconds)}</span>, sort: (row) => row.seconds },
    { id: "trend", head: "last hour", cell: (row) => <Spark points={row.trend} least={10} words={`behind by ${row.trend.slice(-5).map(span).join(", ")} most lately`} /> },
    { id: "messages", head: "waiting", num: true, title: "events that are not settled", cell: (row) => count(row.messages), sort: (row) => row.messages },
    { id: "pending", head: "under way", num: true, title: "delivered and not settled", cell: (row) => count(row.ack_pending), sort: (row) => row.ack_pending },
    { id: "again", head: "again", num: true, title: "delivered more than once", cell: (row) => <span class={row.redelivered ? "warning strong" : ""}>{count(row.redelivered)}</span>, sort: (row) => row.redelivered },
    { id: "pulls", head: "pulls", num: true, title: "pulls that wait on the server: somebody is there to read", cell: (row) => count(row.pulls), sort: (row) => row.pulls },
    { id: "last", head: "last given", num: true, cell: (row) => (row.last_active ? <Ago t={row.last_active} /> : <span class="dim">never</span>), sort: (row) => row.last_active },
  ];
  useKeys(open ? [{ keys: "Escape", words: "close", group: "Everywhere", run: () => go("/consumers") }] : []);
  return (
    <>
      <div class="title">
        <h1>Consumers</h1>
        {rows && <span>{plural(rows.length, "consumer")}</span>}
        <Age of={source} />
        <Filter value={q} what="consumers" />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {found?.missing && found.missing.length > 0 && <Missing names={found.missing} />}
      {rows && rows.length === 0 && (
        <div class="panel">
          <Nothing title="The server has no consumer.">Services make theirs when they start.</Nothing>
        </div>
      )}
      {chosen && rows && !open && (
        <p class="trouble">
          <strong>There is no consumer {chosen}.</strong> It was deleted, or never made; its service makes it when it starts.
        </p>
      )}
      {open && <One row={open} office={offices?.find((each) => each.stream === open.stream && each.durable === open.consumer)} />}
      <Instances source={groups} chosen={chosen} />
      {ranked.length > 0 && <Table main choosable label="consumers" rows={ranked} columns={columns} id={idOf} chosen={chosen} onOpen={(row) => go(`/consumers/${idOf(row)}`)} />}
      {rows && rows.length > 0 && ranked.length === 0 && <Nothing title={`None of the ${rows.length} matches.`} />}
    </>
  );
}

/** Declared durables that are not there: on a bus without rights a session makes its own, so that it is no fault. */
function Missing({ names }: { names: string[] }) {
  const secured = me.value?.secured ?? true;
  return (
    <details class={secured ? "trouble minor" : "panel"} open={secured && names.length <= 5}>
      <summary class="dim">
        {secured && "▲ "}
        {plural(names.length, "declared durable")} {names.length === 1 ? "is" : "are"} not on the server
        {!secured && ": services make theirs when they start"}
      </summary>
      <div class="body">
        <ul class="plainlist mono">
          {names.map((name) => (
            <li key={name}>{name}</li>
          ))}
        </ul>
        Start the service, which makes its own; or <code>mts1b consumers apply</code>.
      </div>
    </details>
  );
}

/** Readers with several instances: who is handed events, of which key. */
function Instances({ source, chosen }: { source: Source<Groups>; chosen: string }) {
  const offices = source.data.value?.groups ?? [];
  if (source.data.value?.unknown && !isDenied(source.data.value.unknown)) return <Troubles of={source} />;
  if (offices.length === 0) return null;
  const keys = offices.some((each) => each.key !== null);
  const columns: Column<Office>[] = [
    { id: "group", head: "group", cell: (row) => <b>{row.group}</b>, sort: (row) => row.group },
    { id: "stream", head: "stream", cell: (row) => row.stream, sort: (row) => row.stream },
    ...(keys ? [{ id: "key", head: "key", cell: (row: Office) => <Data>{row.key}</Data>, sort: (row: Office) => row.key }] : []),
    { id: "active", head: "active", cell: (row) => <Active office={row} />, sort: (row) => row.active },
    { id: "since", head: "for", num: true, cell: (row) => (row.since ? <For t={row.since} /> : "–"), sort: (row) => row.since },
    { id: "term", head: "term", num: true, title: "the number of this time in office", cell: (row) => (row.term === null ? "–" : String(row.term)), sort: (row) => row.term },
    { id: "lag", head: "behind", num: true, cell: (row) => <span class={row.lag_seconds > 30 ? "critical strong" : ""}>{row.lag_seconds === 0 ? "0 s" : span(row.lag_seconds)}</span>, sort: (row) => row.lag_seconds },
    { id: "messages", head: "waiting", num: true, cell: (row) => count(row.messages), sort: (row) => row.messages },
    { id: "pulls", head: "pulls", num: true, title: "of the active instance and of those that stand by", cell: (row) => count(row.pulls), sort: (row) => row.pulls },
    { id: "takeover", head: "taken over after", num: true, title: "from the last sign of life of one instance until another takes over", cell: (row) => span(row.takeover_seconds) },
  ];
  return (
    <section class="panel" aria-label="readers with several instances">
      <header>
        <h2>Several instances</h2>
        <span class="dim">one at a time is handed the events of a durable; the others stand by</span>
        <Age of={source} />
      </header>
      <Table label="durables of several instances" sortParam="groups" rows={offices} columns={columns} id={(row) => `${row.stream}/${row.durable}`} chosen={chosen} onOpen={(row) => go(`/consumers/${row.stream}/${row.durable}`)} />
    </section>
  );
}

function Active({ office }: { office: Office }) {
  if (office.active) return <Data class="good">{office.active}</Data>;
  if (office.pulls > 0 && office.messages === 0) return <span class="dim">nobody yet: nothing has come</span>;
  return (
    <span class={office.messages > 0 ? "critical strong" : "warning"}>
      ✖ nobody{office.last_active && <span class="dim"> · last {office.last_active}</span>}
    </span>
  );
}

function One({ row, office }: { row: Consumer; office: Office | undefined }) {
  const said = state(row);
  const read = source(row);
  return (
    <section class="panel" aria-label={`consumer ${idOf(row)}`}>
      <header>
        <h2>
          {row.consumer} <span class="dim">on</span> <a href={`/streams/${row.stream}`}>{row.stream}</a>
        </h2>
        <span class={said.kind}>{said.words}</span>
        <a class="right" href="/consumers">
          close
        </a>
      </header>
      <div class="body columns">
        <dl class="facts">
          <dt>read by</dt>
          <dd>
            {row.service ? <a href={`/services?open=${encodeURIComponent(row.service)}`}>{row.service}</a> : "nobody says"}
            {row.declared ? "" : <span class="warning"> · not declared</span>}
          </dd>
          {office && (
            <>
              <dt>active</dt>
              <dd>
                <Active office={office} />
                {office.since && (
                  <>
                    {" "}
                    since <When t={office.since} />
                  </>
                )}
                {office.term !== null && `, term ${office.term}`}; another takes over after {span(office.takeover_seconds)}
              </dd>
            </>
          )}
          <dt>behind</dt>
          <dd>
            <b class={row.seconds > 30 ? "critical" : ""}>{row.seconds === 0 ? "0 s: nothing waits" : span(row.seconds)}</b>
            {row.messages > 0 && `, ${plural(row.messages, "event")}`}
          </dd>
          <dt>oldest that waits</dt>
          <dd>
            {row.oldest ? (
              <>
                <a class="mono" href={`/event/${row.oldest.replace(":", "/")}`}>
                  {row.oldest}
                </a>{" "}
                <Data>{row.oldest_subject ? subject(row.oldest_subject) : null}</Data>
              </>
            ) : (
              "none"
            )}
          </dd>
          <dt>position</dt>
          <dd>
            given up to {count(row.reached)}, settled up to {count(row.floor)}
            {read}
          </dd>
          <dt>who is there</dt>
          <dd>
            {row.reading === "nobody" ? (
              <b class={row.messages > 0 ? "critical" : "dim"}>no pull waits: nobody reads</b>
            ) : row.pulls > 0 ? (
              `${plural(row.pulls, "pull")} ${row.pulls === 1 ? "waits" : "wait"} on the server`
            ) : (
              "no pull waits: it works on what it was given"
            )}
            , last given{" "}
            {row.last_active ? <Ago t={row.last_active} /> : "never"}
          </dd>
          <dt>delivered again</dt>
          <dd class={row.redelivered ? "warning" : ""}>{count(row.redelivered)}</dd>
          <dt>reads</dt>
          <dd class="mono">{row.filters.length ? row.filters.map(subject).join(", ") : "everything in the stream"}</dd>
          {row.risk && (
            <>
              <dt>discarding</dt>
              <dd class={row.risk.risk >= 0.7 ? "critical" : ""}>
                the stream's {row.risk.limit} is used up to {Math.round(row.risk.risk * 100)} % at its position
                {row.risk.seconds_left !== null && `; unread events are discarded in ${span(row.risk.seconds_left)}`}
              </dd>
            </>
          )}
        </dl>
        <div>
          {row.trend.length > 1 ? (
            <Chart
              label={`seconds behind over the last hour, now ${span(row.seconds)}`}
              height={150}
              times={row.trend.map((_, at) => Math.round(now() / 1000) - (row.trend.length - 1 - at) * 5)}
              lines={[{ name: "behind", values: row.trend }]}
              format={span}
            />
          ) : (
            <p class="dim">Its trend is known from now on, while somebody looks.</p>
          )}
          <Command text={`mts1b lag --stream ${row.stream}`} />
          {office && <Command text={`mts1b groups show ${row.stream} ${office.group}`} />}
          {row.paused && <Command text={`mts1b consumers resume ${row.stream} ${row.consumer}`} />}
        </div>
      </div>
    </section>
  );
}

function source(row: Consumer): string {
  const last = parse(row.last_active);
  return row.reading === "nobody" && row.messages > 0 && !Number.isNaN(last) ? `; nothing was given for ${span((now() - last) / 1000)}` : "";
}

