// The registry: every subject, who publishes it, who reads it, what it promises; and what a pattern matches.
import { plainWords, plural, service } from "../base/format";
import { useKeys } from "../base/keys";
import { address, go, param, set } from "../base/route";
import { useSource } from "../base/source";
import type { SubjectRow, Subjects } from "../shapes";
import { Age, Copy, Nothing, Troubles, Waiting } from "../parts/bits";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";

export function SubjectsPage({ chosen }: { chosen: string }) {
  const matching = param("matching");
  const source = useSource<Subjects>(address("/api/subjects", { matching }), 0);
  const rows = source.data.value?.subjects ?? null;
  const q = param("q");
  const open = rows?.find((row) => row.pattern === chosen);
  const shown = kept(rows ?? [], q, (row) => `${row.pattern} ${row.producer} ${row.payload} ${row.tier} ${row.description} ${row.readers.map((each) => each.service).join(" ")}`);
  const columns: Column<SubjectRow>[] = [
    { id: "pattern", head: "subject", cell: (row) => <span class="mono">{row.pattern}</span>, sort: (row) => row.pattern },
    { id: "producer", head: "published by", cell: (row) => service(row.producer), sort: (row) => row.producer },
    { id: "readers", head: "read by", cell: (row) => [...new Set(row.readers.map((each) => service(each.service)))].join(", ") || <span class="dim">–</span>, sort: (row) => row.readers.length },
    { id: "payload", head: "payload", cell: (row) => row.payload.split(".").pop(), sort: (row) => row.payload },
    { id: "tier", head: "promise", cell: (row) => row.tier, sort: (row) => row.tier },
    { id: "streams", head: "stored in", cell: (row) => row.streams.join(", ") || <span class="dim">not stored</span>, sort: (row) => row.streams.join() },
    { id: "description", head: "what it says", cell: (row) => plainWords(row.description), class: "rest" },
  ];
  useKeys(open ? [{ keys: "Escape", words: "close", group: "Everywhere", run: () => go(address("/subjects", { q, matching })) }] : []);
  return (
    <>
      <div class="title">
        <h1>Subjects</h1>
        {rows && <span>{plural(rows.length, "subject")}</span>}
        <Age of={source} />
        <label class="right">
          <span class="dim">matched by</span>{" "}
          <input type="text" class="mono" placeholder="mts.v1.oms.>" value={matching} spellcheck={false} onChange={(event) => set({ matching: event.currentTarget.value.trim() })} />
        </label>
        <Filter value={q} what="subjects" />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {chosen && rows && !open && (
        <p class="trouble">
          <strong>No subject is registered as {chosen}.</strong> Names of funds and symbols stand in braces here: mts.v1.treasury.nav.{"{fund_id}"}.
        </p>
      )}
      {open && <One row={open} />}
      {rows && shown.length === 0 && <Nothing title={matching ? `No registered subject is matched by ${matching}.` : "None matches."} />}
      {shown.length > 0 && <Table main label="subjects" rows={shown} columns={columns} id={(row) => row.pattern} chosen={chosen} onOpen={(row) => go(address(`/subjects/${encodeURIComponent(row.pattern)}`, { q, matching }))} />}
    </>
  );
}

function One({ row }: { row: SubjectRow }) {
  const wild = row.pattern.replace(/\{[^}]+\}/g, "*");
  return (
    <section class="panel" aria-label={`subject ${row.pattern}`}>
      <header>
        <h2 class="mono">{row.pattern}</h2>
        <Copy text={row.pattern} />
        <a class="right" href={address("/subjects", { q: param("q"), matching: param("matching") })}>
          close
        </a>
      </header>
      <div class="body columns">
        <dl class="facts">
          <dt>says</dt>
          <dd>{plainWords(row.description)}</dd>
          <dt>on the wire</dt>
          <dd class="mono">
            {row.forms.map((form) => (
              <div key={form}>{form}</div>
            ))}
          </dd>
          <dt>payload</dt>
          <dd>
            <a href={`/schemas/${encodeURIComponent(row.payload)}`}>{row.payload}</a>
          </dd>
          <dt>promise</dt>
          <dd>{row.tier}</dd>
          <dt>message id</dt>
          <dd class="mono">{row.message_id ?? "–"}</dd>
          {row.replaces && (
            <>
              <dt>replaces</dt>
              <dd>
                <a class="mono" href={`/subjects/${encodeURIComponent(row.replaces)}`}>
                  {row.replaces}
                </a>
              </dd>
            </>
          )}
        </dl>
        <dl class="facts">
          <dt>published by</dt>
          <dd>
            <a href={`/services?open=${encodeURIComponent(row.producer)}`}>{row.producer}</a>, and nobody else
          </dd>
          <dt>stored in</dt>
          <dd>
            {row.streams.length
              ? row.streams.map((name) => (
                  <a key={name} href={`/streams/${name}`}>
                    {name}{" "}
                  </a>
                ))
              : "no stream: who is not there misses it"}
          </dd>
          <dt>read by</dt>
          <dd>
            {row.readers.length === 0 && <span class="dim">no declared durable</span>}
            {row.readers.map((each) => (
              <div key={`${each.stream} ${each.durable}`}>
                <a href={`/consumers/${each.stream}/${each.durable}`}>{each.durable}</a> of {each.service}
              </div>
            ))}
          </dd>
          <dt>events</dt>
          <dd>
            <a href={address("/tail", { subject: wild })}>as they pass</a>
            {row.streams.length > 0 && (
              <>
                {" · "}
                <a href={address("/events", { q: `subject:${wild}` })}>stored</a>
              </>
            )}
          </dd>
        </dl>
      </div>
    </section>
  );
}
