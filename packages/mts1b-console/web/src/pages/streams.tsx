// Streams: what they hold, what differs from their declaration, and when a limit discards what somebody has not read.
import { bytes, count, percent, plural, rate, subject } from "../base/format";
import { useKeys } from "../base/keys";
import { go, param } from "../base/route";
import { useSource } from "../base/source";
import { span } from "../base/time";
import type { Stream, Streams } from "../shapes";
import { Age, Ago, Command, Meter, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";
import { Discards, Full, soonest } from "./now";

export function StreamsPage({ chosen }: { chosen: string }) {
  const source = useSource<Streams>("/api/streams", 3000);
  const found = source.data.value;
  const rows = found?.streams ?? null;
  const open = rows?.find((row) => row.name === chosen);
  const q = param("q");
  const columns: Column<Stream>[] = [
    { id: "name", head: "stream", cell: (row) => <b>{row.name}</b>, sort: (row) => row.name },
    { id: "declared", head: "declaration", cell: (row) => <Declared row={row} />, sort: (row) => (row.declared ? row.drift.length : 99) },
    { id: "messages", head: "events", num: true, cell: (row) => count(row.messages), sort: (row) => row.messages },
    { id: "bytes", head: "size", num: true, cell: (row) => bytes(row.bytes), sort: (row) => row.bytes },
    { id: "rate", head: "stored/s", num: true, cell: (row) => rate(row.per_second), sort: (row) => row.per_second },
    { id: "last", head: "last stored", num: true, cell: (row) => (row.last_at ? <Ago t={row.last_at} /> : <span class="dim">never</span>), sort: (row) => row.last_at },
    { id: "consumers", head: "consumers", num: true, cell: (row) => count(row.consumers), sort: (row) => row.consumers },
    { id: "unread", head: "unread", num: true, title: "most that one of its consumers has not read", cell: (row) => (row.unread === null ? "–" : count(row.unread)), sort: (row) => row.unread },
    { id: "full", head: "nearest limit", num: true, cell: (row) => <Full stream={row} />, sort: (row) => row.full },
    { id: "discards", head: "discards unread in", num: true, cell: (row) => <Discards stream={row} />, sort: soonest },
    { id: "replicas", head: "replicas", num: true, cell: (row) => count(row.replicas), sort: (row) => row.replicas },
  ];
  const shown = kept(rows ?? [], q, (row) => `${row.name} ${row.subjects.join(" ")}`);
  useKeys(open ? [{ keys: "Escape", words: "close", group: "Everywhere", run: () => go("/streams") }] : []);
  return (
    <>
      <div class="title">
        <h1>Streams</h1>
        {rows && <span>{plural(rows.length, "stream")}</span>}
        <Age of={source} />
        <Filter value={q} what="streams" />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {found?.missing?.map((name) => (
        <div key={name} class="trouble">
          <strong>✖ {name} is declared and not on the server:</strong> events on its subjects are not stored.
          <Command text="mts1b streams plan" />
        </div>
      ))}
      {chosen && rows && !open && !found?.missing?.includes(chosen) && (
        <p class="trouble">
          <strong>There is no stream {chosen}.</strong>
        </p>
      )}
      {open && <One row={open} />}
      {rows && rows.length === 0 && (
        <div class="panel">
          <Nothing title="The server has no stream.">
            <code>mts1b streams apply</code> makes those that are declared.
          </Nothing>
        </div>
      )}
      {shown.length > 0 && <Table main label="streams" rows={shown} columns={columns} id={(row) => row.name} chosen={chosen} onOpen={(row) => go(`/streams/${row.name}`)} />}
    </>
  );
}

function Declared({ row }: { row: Stream }) {
  if (!row.declared) return <span class="warning">not declared</span>;
  if (row.drift.length) return <span class="warning strong">▲ {plural(row.drift.length, "difference")}</span>;
  return <span class="dim">as declared</span>;
}

function One({ row }: { row: Stream }) {
  const { limits } = row;
  const bars: [string, number | null, string][] = [
    ["events", limits.messages, `${count(row.messages)} of ${limits.messages === null ? "any number" : count(limits.messages)}`],
    ["size", limits.bytes, `${bytes(row.bytes)} of ${limits.bytes === null ? "any size" : bytes(limits.bytes)}`],
  ];
  const shares = [limits.messages ? row.messages / limits.messages : null, limits.bytes ? row.bytes / limits.bytes : null];
  return (
    <section class="panel" aria-label={`stream ${row.name}`}>
      <header>
        <h2>{row.name}</h2>
        <Declared row={row} />
        <a href={`/events?q=${encodeURIComponent(`stream:${row.name}`)}`}>its events</a>
        <a class="right" href="/streams">
          close
        </a>
      </header>
      <div class="body columns">
        <dl class="facts">
          <dt>subjects</dt>
          <dd class="mono">{row.subjects.map(subject).join(", ")}</dd>
          <dt>holds</dt>
          <dd>
            {count(row.first_seq)} to {count(row.last_seq)}, from <When t={row.first_at} /> to <When t={row.last_at} />
          </dd>
          {bars.map(([name, limit, words], at) => (
            <>
              <dt>{name}</dt>
              <dd>
                {words} {limit !== null && <Meter share={shares[at] ?? null} words={`${percent(shares[at])} of the limit`} />}
              </dd>
            </>
          ))}
          <dt>age</dt>
          <dd>{limits.age_seconds === null ? "kept for ever" : `kept for ${span(limits.age_seconds)}`}</dd>
          <dt>a subject</dt>
          <dd>{limits.messages_per_subject === null ? "any number of events" : `the newest ${count(limits.messages_per_subject)}`}</dd>
          <dt>stored</dt>
          <dd>
            {row.storage}, {plural(row.replicas, "replica")}, retention {row.retention}
          </dd>
        </dl>
        <div>
          <h3>Discards what somebody has not read</h3>
          {row.risks.length === 0 ? (
            <p class="dim">No consumer is near a limit.</p>
          ) : (
            <table class="grid">
              <thead>
                <tr>
                  <th scope="col">consumer</th>
                  <th scope="col">limit</th>
                  <th scope="col" class="num">
                    used
                  </th>
                  <th scope="col" class="num">
                    left
                  </th>
                </tr>
              </thead>
              <tbody>
                {row.risks.map((risk) => (
                  <tr key={`${risk.consumer} ${risk.limit}`}>
                    <td>
                      <a href={`/consumers/${row.name}/${risk.consumer}`}>{risk.consumer}</a>
                    </td>
                    <td>{risk.limit}</td>
                    <td class="num">
                      {percent(risk.risk)} <Meter share={risk.risk} words={percent(risk.risk)} />
                    </td>
                    <td class="num">{risk.risk >= 1 ? <b class="critical">✖ discarded</b> : span(risk.seconds_left)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          {row.drift.length > 0 && (
            <>
              <h3>Differs from its declaration</h3>
              <table class="grid">
                <thead>
                  <tr>
                    <th scope="col">field</th>
                    <th scope="col">declared</th>
                    <th scope="col">on the server</th>
                  </tr>
                </thead>
                <tbody>
                  {row.drift.map((each) => (
                    <tr key={each.field}>
                      <td>{each.field}</td>
                      <td class="mono wrap">{each.declared}</td>
                      <td class="mono wrap warning">{each.actual}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
              <Command text="mts1b streams plan" />
            </>
          )}
        </div>
      </div>
    </section>
  );
}
