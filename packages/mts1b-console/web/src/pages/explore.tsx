// Stored events by a query: newest first, in steps, saying how far it came. The address carries all of it.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get } from "../base/api";
import { count } from "../base/format";
import { useKeys } from "../base/keys";
import { address, here, param, set } from "../base/route";
import { clock, now } from "../base/time";
import type { EventRow, EventsFound } from "../shapes";
import { announce, Nothing, Trouble, When } from "../parts/bits";
import { StoredEvent } from "../parts/event";
import { Histogram } from "../parts/histogram";
import { QueryField } from "../parts/query";
import { eventColumns } from "../parts/rows";
import { Table } from "../parts/table";
import { Views } from "../parts/views";

const EXAMPLES = ["subject:mts.v1.oms.>", "fund:alpha", "refused:yes", "quantity>10", "-subject:mts.v1.treasury.>"];
const SINCE = [
  { label: "15 min", seconds: 900 },
  { label: "1 h", seconds: 3600 },
  { label: "24 h", seconds: 86_400 },
];

interface Found {
  rows: EventRow[];
  last: EventsFound | null;
}

export function ExplorePage() {
  const [q, from, to, open] = [param("q"), param("from"), param("to"), param("open")];
  const text = useSignal(q);
  const found = useSignal<Found>({ rows: [], last: null });
  const busy = useSignal(false);
  const trouble = useSignal<Error | null>(null);
  const query = address("/api/events", { q, from, to, limit: 200 });
  const rows = useComputed(() => found.value.rows);

  const ask = async (url: string, before: EventRow[]): Promise<void> => {
    busy.value = true;
    trouble.value = null;
    try {
      const answer = await get<EventsFound>(url, 15_000);
      const had = new Set(before.map((row) => row.id));
      found.value = { rows: [...before, ...(answer.events ?? []).filter((row) => !had.has(row.id))], last: answer };
      announce(`${count(found.value.rows.length)} events found`);
    } catch (error) {
      trouble.value = error as Error;
    } finally {
      busy.value = false;
    }
  };
  useEffect(() => {
    text.value = q;
    found.value = { rows: [], last: null };
    void ask(query, []);
  }, [query]);
  const further = (): void => {
    const cursor = found.value.last?.cursor;
    if (cursor && !busy.value) void ask(address("/api/events", { q, from, to, limit: 200, cursor }), rows.value);
  };
  useKeys([
    { keys: "e", words: "export what the query finds", run: () => document.getElementById("export-csv")?.click() },
    { keys: "n", words: "search on, further back", run: further },
    { keys: "l", words: "look again", run: () => void ask(query, []) },
  ]);
  const last = found.value.last;
  const at = rows.value.findIndex((row) => row.id === open);
  return (
    <>
      <form
        class="bar"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.value.trim() === q) void ask(query, []);
          else set({ q: text.value.trim(), open: null }, { step: true });
        }}
      >
        <h1>Explore</h1>
        <QueryField id="words" text={text} placeholder='order_id:…  subject:mts.v1.oms.>  price>100  -fund:beta  "text"' />
        <Moment name="from" value={from} />
        <Moment name="to" value={to} />
        <button type="submit" class="main" aria-busy={busy.value}>
          {busy.value ? "Searching…" : "Search"}
        </button>
      </form>
      <div class="bar">
        {SINCE.map((each) => (
          <button type="button" key={each.label} onClick={() => set({ from: new Date(now() - each.seconds * 1000).toISOString().slice(0, 19) + "Z", to: null })}>
            last {each.label}
          </button>
        ))}
        {(from || to) && (
          <button type="button" onClick={() => set({ from: null, to: null, around: null })}>
            all times
          </button>
        )}
        <Views page="/events" />
        <span class="right dim">
          export{" "}
          <a id="export-csv" href={address("/api/export", { q, from, to, format: "csv" })} download>
            CSV
          </a>{" "}
          <a href={address("/api/export", { q, from, to, format: "jsonl" })} download>
            JSON lines
          </a>{" "}
          <a href={address("/api/export", { q, from, to, format: "parquet" })} download>
            Parquet
          </a>
        </span>
      </div>
      {last?.problems.map((problem) => (
        <p key={problem.at} class="trouble">
          <strong>At character {problem.at + 1}:</strong> {problem.words}. <span class="mono data">{q.slice(problem.at, problem.at + 40)}</span>
        </p>
      ))}
      <Trouble problem={trouble.value ?? last?.unknown} />
      {rows.value.length > 1 && <Histogram rows={rows.value} onChoose={(start, end) => set({ from: start, to: end }, { step: true })} />}
      <div class={open ? "split open" : "split"}>
        <div class="stack">
          {last && rows.value.length === 0 && !busy.value && (
            <div class="panel">
              <Nothing title="No stored event is meant by this query.">
                {last.cursor ? "Further back there may be some: search on. " : "Everything was searched. "}
                Best-effort subjects (quotes, bars) are not stored: <a href={address("/tail", { q })}>tail them</a>. Try{" "}
                {EXAMPLES.map((each) => (
                  <>
                    <a href={here({ q: each, from: null, to: null })} class="mono">
                      {each}
                    </a>{" "}
                  </>
                ))}
              </Nothing>
            </div>
          )}
          {rows.value.length > 0 && (
            <Table
              main
              fill
              choosable
              narrow={Boolean(open)}
              label="events"
              rows={rows.value}
              columns={eventColumns}
              id={(row) => row.id}
              chosen={open}
              onOpen={(row) => set({ open: row.id }, { step: !open })}
              onMove={(row) => open && set({ open: row.id })}
            />
          )}
          {last?.searched && (
            <p class="searched">
              {count(rows.value.length)} found · {last.searched.how === "index" ? "by the index" : `looked at ${count(last.searched.looked_at)} of ${count(last.searched.of)} events`}
              {last.searched.back_to && (
                <>
                  {" "}
                  back to <When t={last.searched.back_to} />
                </>
              )}
              {" · "}asked at {clock(last.read_at)}
              <Skipped streams={last.searched.skipped} />{" "}
              {last.cursor ? (
                <button type="button" onClick={further} disabled={busy.value}>
                  Search on <kbd>n</kbd>
                </button>
              ) : (
                "· that is all"
              )}
            </p>
          )}
        </div>
        {open && <StoredEvent key={open} place={open} before={rows.value[at + 1]?.id ?? null} onClose={() => set({ open: null, tab: null })} />}
      </div>
    </>
  );
}

/** Streams that were not looked at, by the reason. */
function Skipped({ streams }: { streams: Record<string, string> }) {
  const reasons = new Map<string, string[]>();
  for (const [stream, why] of Object.entries(streams)) reasons.set(why, [...(reasons.get(why) ?? []), stream]);
  return (
    <>
      {[...reasons].map(([why, names]) => (
        <span key={why} class="warning" title={names.join("\n")}>
          {" "}
          · {names.length > 3 ? `${count(names.length)} streams` : names.join(", ")}: {why}
        </span>
      ))}
    </>
  );
}

function Moment({ name, value }: { name: "from" | "to"; value: string }) {
  return (
    <label class="moment">
      <span class="dim">{name}</span>{" "}
      <input
        type="text"
        class="mono"
        placeholder={name === "from" ? "the beginning" : "now"}
        title="UTC, such as 2026-11-29T03:12:44Z; or 10m, 2h, 3d ago"
        value={value}
        spellcheck={false}
        onChange={(event) => set({ [name]: event.currentTarget.value.trim() || null, around: null }, { step: true })}
      />
    </label>
  );
}
