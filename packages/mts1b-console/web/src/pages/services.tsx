// Services, as far as streams and consumers tell of them; what each should publish and read is in the registry.
import { count, plural, rate, service, subject } from "../base/format";
import { param, set } from "../base/route";
import { useSource } from "../base/source";
import { span } from "../base/time";
import type { Consumers, Service, Services, Subjects } from "../shapes";
import { Age, Ago, Command, Nothing, Troubles, Waiting } from "../parts/bits";
import { type Column, Table } from "../parts/table";

export function ServicesPage() {
  const source = useSource<Services>("/api/services", 2000);
  const rows = source.data.value?.services ?? null;
  const open = param("open") || param("service");
  const one = rows?.find((row) => row.name === open);
  const columns: Column<Service>[] = [
    { id: "name", head: "service", cell: (row) => <b>{service(row.name)}</b>, sort: (row) => row.name },
    { id: "reading", head: "state", cell: (row) => <State row={row} />, sort: (row) => (row.reading === false ? 0 : 1) },
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
      {one && <One row={one} />}
      {rows && rows.length > 0 && <Table main label="services" rows={rows} columns={columns} id={(row) => row.name} chosen={open} onOpen={(row) => set({ open: row.name, service: null }, { step: !open })} />}
    </>
  );
}

function State({ row }: { row: Service }) {
  if (row.reading === null) return <span class="dim">reads with no durable</span>;
  if (row.reading) return <span class="good">● reads</span>;
  const words = row.away.length === row.reads ? "away" : `${row.away.length} of ${row.reads} not read`;
  return row.messages ? <span class="critical strong">✖ {words}</span> : <span class="dim">○ {words}, nothing waits</span>;
}

function One({ row }: { row: Service }) {
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
          <Command text={`mts1b-deploy status`} />
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
