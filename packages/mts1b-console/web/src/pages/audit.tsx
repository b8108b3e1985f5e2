// The audit log: who did what, why, and what came of it. A search goes by names, as the log has them.
import { useSignal } from "@preact/signals";
import { plural } from "../base/format";
import { address, param, set } from "../base/route";
import { useSource } from "../base/source";
import type { AuditFound } from "../shapes";
import { Age, Command, Data, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { type Column, Table } from "../parts/table";
import { Raw } from "../parts/tree";

const FIELDS = ["actor", "action", "kind", "order_id", "fund_id", "halt_id", "trace_id", "request_id"] as const;
type Entry = Record<string, unknown>;

const text = (value: unknown): string => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
const rowId = (row: Entry): string => `${text(row["chain"])} ${text(row["n"])} ${text(row["at"])} ${text(row["action"])}`;

export function AuditPage() {
  const wanted: Record<string, string> = Object.fromEntries(FIELDS.map((field) => [field, param(field)] as const).filter(([, value]) => value));
  const any = Object.keys(wanted).length > 0;
  const source = useSource<AuditFound>(any ? address("/api/audit", wanted) : null, 0);
  const records = source.data.value?.records ?? null;
  const field = useSignal<string>(Object.keys(wanted)[0] ?? "actor");
  const value = useSignal<string>(Object.values(wanted)[0] ?? "");
  const open = param("open");
  const one = records?.find((row) => rowId(row) === open);
  const columns: Column<Entry>[] = [
    { id: "at", head: "time", cell: (row) => <When t={text(row["at"])} millis />, sort: (row) => text(row["at"]) },
    { id: "kind", head: "kind", cell: (row) => <Data>{text(row["kind"])}</Data>, sort: (row) => text(row["kind"]) },
    { id: "action", head: "what", cell: (row) => <b class="data">{text(row["action"] ?? row["subject"])}</b>, sort: (row) => text(row["action"]) },
    { id: "actor", head: "who", cell: (row) => <Data>{text(row["actor"])}</Data>, sort: (row) => text(row["actor"]) },
    { id: "about", head: "about", cell: (row) => <Data>{["order_id", "halt_id", "fund_id", "scope"].map((name) => text(row[name])).find(Boolean) ?? ""}</Data> },
    { id: "reason", head: "why", cell: (row) => <Data>{text(row["reason"])}</Data>, class: "rest" },
    { id: "chain", head: "log", cell: (row) => <span class="mono">{text(row["chain"])}</span>, sort: (row) => text(row["chain"]) },
  ];
  return (
    <>
      <form
        class="bar"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          const cleared = Object.fromEntries(FIELDS.map((each) => [each, null]));
          set({ ...cleared, open: null, [field.value]: value.value.trim() || null }, { step: true });
        }}
      >
        <h1>Audit</h1>
        <label>
          <span class="unseen">field</span>
          <select value={field.value} onChange={(event) => (field.value = event.currentTarget.value)}>
            {FIELDS.map((each) => (
              <option key={each} value={each}>
                {each.replace("_id", "").replace("_", " ")}
              </option>
            ))}
          </select>
        </label>
        <input type="search" class="wide mono" aria-label="value, exactly" placeholder="exactly as the log has it, such as olga or halt.request" value={value.value} spellcheck={false} onInput={(event) => (value.value = event.currentTarget.value)} />
        <button type="submit" class="main" disabled={!value.value.trim()}>
          Search
        </button>
        {any && <Age of={source} />}
      </form>
      {any ? (
        <>
          <Troubles of={source} />
          <Waiting of={source} />
        </>
      ) : (
        <div class="panel">
          <Nothing title="Whom or what do you look for?">
            <a href="/audit?action=halt.request">halts requested</a> · <a href="/audit?action=halt.clear">halts cleared</a> ·{" "}
            <a href="/audit?action=act.deadletters.requeue">requeues</a> · <a href="/audit?action=act.deadletters.discard">discards</a>. What a person does here is in it.
          </Nothing>
          <div class="body">
            <Command text="mts1b audit verify" />
          </div>
        </div>
      )}
      {records && (
        <p class="searched">
          {plural(records.length, "record")} in the logs that lie where looks are answered{source.data.value?.complete ? "" : "; there are more, say more exactly what you look for"}. Whether the
          chains are whole: <code>mts1b audit verify</code>
        </p>
      )}
      {records && records.length === 0 && (
        <div class="panel">
          <Nothing title="No record has exactly this value.">Logs of other hosts are not searched from here.</Nothing>
        </div>
      )}
      {records && records.length > 0 && (
        <div class={one ? "split open" : "split"}>
          <Table main label="records" rows={records} columns={columns} id={rowId} chosen={open} onOpen={(row) => set({ open: rowId(row) }, { step: !open })} />
          {one && (
            <section class="event" aria-label="the record">
              <header>
                <h2>
                  <Data>{text(one["action"] ?? one["kind"])}</Data>
                </h2>
                <button type="button" class="plain" onClick={() => set({ open: null })}>
                  close
                </button>
              </header>
              <div class="content" tabIndex={0} role="region" aria-label="the record's fields">
                <Raw text={JSON.stringify(one, null, 2)} />
              </div>
            </section>
          )}
        </div>
      )}
    </>
  );
}
