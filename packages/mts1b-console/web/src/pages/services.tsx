// Services: what streams and consumers tell of them, which processes say that they are there, whose certificate ends when.
import { count, plural, rate, service, subject } from "../base/format";
import { param, set } from "../base/route";
import { useSource } from "../base/source";
import { span } from "../base/time";
import type { Certificate, Consumers, Process, Processes, Service, Services, Subjects } from "../shapes";
import { Age, Ago, Command, Data, For, isDenied, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { type Column, Table } from "../parts/table";

export function ServicesPage() {
  const source = useSource<Services>("/api/services", 2000);
  const rows = source.data.value?.services ?? null;
  const there = useSource<Processes>("/api/processes", 3000);
  const all = there.data.value?.processes ?? null;
  const open = param("open") || param("service");
  const one = rows?.find((row) => row.name === open);
  const columns: Column<Service>[] = [
    { id: "name", head: "service", cell: (row) => <b>{service(row.name)}</b>, sort: (row) => row.name },
    { id: "reading", head: "state", cell: (row) => <State row={row} />, sort: (row) => (row.reading === false ? 0 : 1) },
    { id: "processes", head: "processes", num: true, title: "that say that they are there", cell: (row) => <Answering of={all} name={row.name} />, sort: (row) => answering(all, row.name).length },
    { id: "reads", head: "durables", num: true, cell: (row) => count(row.reads), sort: (row) => row.reads },
    { id: "behind", head: "behind", num: true, cell: (row) => <span class={(row.lag_seconds ?? 0) > 30 ? "critical strong" : ""}>{row.lag_seconds === null ? "–" : row.lag_seconds === 0 ? "0 s" : span(row.lag_seconds)}</span>, sort: (row) => row.lag_seconds },
    { id: "waiting", head: "waiting", num: true, cell: (row) => (row.messages === null ? "–" : count(row.messages)), sort: (row) => row.messages },
    { id: "rate", head: "stored/s", num: true, cell: (row) => (row.per_second === null ? "–" : rate(row.per_second)), sort: (row) => row.per_second },
    { id: "last", head: "last stored", num: true, cell: (row) => (row.last_event ? <Ago t={row.last_event} /> : <span class="dim">stores nothing</span>), sort: (row) => row.last_event },
  ];
  return (
    <>
      <div class="title">
        <h1>Services</h1>
        {rows && <span>{plural(rows.length, "service")}</span>}
        <Age of={source} />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {rows && rows.length === 0 && (
        <div class="panel">
          <Nothing title="No service reads or stores anything.">
            <code>mts1b-deploy status</code> says which are installed and running.
          </Nothing>
        </div>
      )}
      {one && <One row={one} there={all?.filter((each) => each.service === one.name) ?? null} />}
      {rows && rows.length > 0 && <Table main label="services" rows={rows} columns={columns} id={(row) => row.name} chosen={open} onOpen={(row) => set({ open: row.name, service: null }, { step: !open })} />}
      {!isDenied(there.data.value?.unknown) && <Troubles of={there} />}
      {there.data.value?.certificates && there.data.value.certificates.length > 0 && <Certificates rows={there.data.value.certificates} />}
    </>
  );
}

const answering = (all: Process[] | null, name: string): Process[] => all?.filter((each) => each.service === name && each.silent_since === null) ?? [];

function Answering({ of: all, name }: { of: Process[] | null; name: string }) {
  if (all === null) return <span class="dim">–</span>;
  const there = answering(all, name).length;
  const silent = all.filter((each) => each.service === name && each.silent_since !== null).length;
  if (silent > 0)
    return (
      <span class="warning strong">
        {count(there)}, {count(silent)} silent
      </span>
    );
  return <span class={there ? "" : "dim"}>{count(there)}</span>;
}

/** The processes of one service, as they say of themselves. */
function Instances({ rows }: { rows: Process[] | null }) {
  if (rows === null) return <p class="dim">not known</p>;
  if (rows.length === 0) return <p class="dim">none answers</p>;
  return (
    <ul class="plainlist">
      {rows.map((each) => (
        <li key={each.id} class="process">
          {each.silent_since ? (
            <b class="warning">
              ▲ silent for <For t={each.silent_since} />
            </b>
          ) : (
            <span class="good">● answers</span>
          )}{" "}
          <Data>{each.member ?? each.host ?? each.id}</Data>
          {each.pid && <span class="dim"> process {each.pid}</span>}
          {each.version && each.version !== "0.0.0" && <span class="dim"> version {each.version}</span>}
          {each.started && (
            <span class="dim">
              {" "}
              up <For t={each.started} />
            </span>
          )}
          {each.command && (
            <div class="dim mono">
              <Data>{each.command}</Data>
            </div>
          )}
          {each.handles.length > 0 && (
            <div class="scroll" tabIndex={0} role="group" aria-label={`readers of ${each.member ?? each.id}`}>
              <table class="grid" aria-label={`what ${each.member ?? each.id} handles`}>
                <thead>
                  <tr>
                    <th scope="col">reader</th>
                    <th scope="col" class="num">
                      handled
                    </th>
                    <th scope="col" class="num">
                      errors
                    </th>
                    <th scope="col" class="num" title="time at work of a handler of durable events, on average">
                      each
                    </th>
                    <th scope="col">subject</th>
                  </tr>
                </thead>
                <tbody>
                  {each.handles.map((handled) => (
                    <tr key={`${handled.name} ${handled.subject}`}>
                      <td>
                        <Data>{handled.name}</Data>
                      </td>
                      <td class="num">{count(handled.handled)}</td>
                      <td class={handled.errors ? "num critical strong" : "num"}>{count(handled.errors)}</td>
                      <td class="num">{handled.seconds_each === null ? "–" : span(handled.seconds_each)}</td>
                      <td class="mono">
                        <Data>{subject(handled.subject)}</Data>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </li>
      ))}
    </ul>
  );
}

/** In words and a kind: how long a certificate is good. */
function left(row: Certificate): { words: string; kind: string } {
  if (row.days < 0) return { words: "✖ has ended", kind: "critical strong" };
  const words = row.days < 2 ? `${Math.floor(row.days * 24)} h left` : `${Math.floor(row.days)} days left`;
  return row.days < 3 ? { words: `✖ ${words}`, kind: "critical strong" } : row.days < 8 ? { words: `▲ ${words}`, kind: "warning strong" } : { words, kind: "" };
}

function Certificates({ rows }: { rows: Certificate[] }) {
  const columns: Column<Certificate>[] = [
    { id: "left", head: "left", cell: (row) => <span class={left(row).kind}>{left(row).words}</span>, sort: (row) => row.days },
    { id: "of", head: "of", cell: (row) => <b>{service(row.of)}</b>, sort: (row) => row.of },
    { id: "where", head: "host", cell: (row) => (row.where ? <Data>{row.where}</Data> : <span class="dim">as it is shown to who connects</span>), sort: (row) => row.where },
    { id: "ends", head: "ends", cell: (row) => <When t={row.ends} date="always" />, sort: (row) => row.ends },
  ];
  return (
    <section class="panel" aria-label="certificates">
      <header>
        <h2>Certificates</h2>
        <span class="dim">of the server, and of every process that answers; <code>mts1b-deploy pki rotate --due</code> renews them</span>
      </header>
      <Table label="days left" sortParam="certificates" rows={rows} columns={columns} id={(row) => `${row.of} ${row.where ?? ""} ${row.ends}`} />
    </section>
  );
}

function State({ row }: { row: Service }) {
  if (row.reading === null) return <span class="dim">reads with no durable</span>;
  if (row.reading) return <span class="good">● reads</span>;
  const words = row.away.length === row.reads ? "away" : `${row.away.length} of ${row.reads} not read`;
  return row.messages ? <span class="critical strong">✖ {words}</span> : <span class="dim">○ {words}, nothing waits</span>;
}

function One({ row, there }: { row: Service; there: Process[] | null }) {
  const consumers = useSource<Consumers>("/api/consumers", 2000).data.value?.consumers?.filter((each) => each.service === row.name);
  const subjects = useSource<Subjects>("/api/subjects", 0).data.value?.subjects;
  const publishes = subjects?.filter((each) => each.producer === row.name);
  return (
    <section class="panel" aria-label={`service ${row.name}`}>
      <header>
        <h2>{row.name}</h2>
        <State row={row} />
        <button type="button" class="plain right" onClick={() => set({ open: null, service: null })}>
          close
        </button>
      </header>
      <div class="body">
        <h3>Processes</h3>
        <Instances rows={there} />
        <Command text={`mts1b-deploy status`} />
      </div>
      <div class="body columns">
        <div>
          <h3>Reads</h3>
          {consumers === undefined ? (
            <p class="dim">not known</p>
          ) : consumers.length === 0 ? (
            <p class="dim">with no durable; it may listen to best-effort subjects</p>
          ) : (
            <ul class="plainlist">
              {consumers.map((each) => (
                <li key={each.consumer}>
                  <a href={`/consumers/${each.stream}/${each.consumer}`}>
                    {each.consumer} <span class="dim">on {each.stream}</span>
                  </a>{" "}
                  {each.reading === "nobody" ? each.messages > 0 ? <b class="critical">✖ nobody reads</b> : <span class="dim">○ nobody reads, nothing waits</span> : <span class="good">● reads</span>}
                  {each.messages > 0 && `, ${plural(each.messages, "event")} wait, ${span(each.seconds)} behind`}
                </li>
              ))}
            </ul>
          )}
        </div>
        <div>
          <h3>Publishes</h3>
          {publishes === undefined ? (
            <p class="dim">not known</p>
          ) : publishes.length === 0 ? (
            <p class="dim">nothing that is registered</p>
          ) : (
            <ul class="plainlist mono">
              {publishes.map((each) => (
                <li key={each.pattern}>
                  <a href={`/subjects/${encodeURIComponent(each.pattern)}`}>{subject(each.pattern)}</a>
                </li>
              ))}
            </ul>
          )}
        </div>
      </div>
    </section>
  );
}
