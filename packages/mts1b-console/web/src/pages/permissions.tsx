// Who may publish and read what: by the registry for services, by the server's own answer for the person signed in.
import { useSignal } from "@preact/signals";
import { me, matches } from "../base/me";
import { param, set } from "../base/route";
import { service } from "../base/format";
import { useSource } from "../base/source";
import type { Rights, SubjectRow, Subjects } from "../shapes";
import { Age, Nothing, Troubles, Waiting } from "../parts/bits";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";

export function PermissionsPage() {
  const source = useSource<Subjects>("/api/subjects", 0);
  const rows = source.data.value?.subjects ?? null;
  const q = param("q");
  const rights = me.value?.rights ?? null;
  const mine = (row: SubjectRow): boolean | null => (rights === null ? null : row.forms.some((form) => rights.subjects.some((pattern) => covers(pattern, form))));
  const columns: Column<SubjectRow>[] = [
    { id: "subject", head: "subject", cell: (row) => <a class="mono" href={`/subjects/${encodeURIComponent(row.pattern)}`}>{row.pattern}</a>, sort: (row) => row.pattern },
    { id: "publish", head: "may publish", cell: (row) => service(row.producer), sort: (row) => row.producer },
    { id: "read", head: "declared to read", cell: (row) => [...new Set(row.readers.map((each) => service(each.service)))].join(", ") || <span class="dim">nobody</span>, sort: (row) => row.readers.length },
    {
      id: "me",
      head: `${me.value?.name ?? "you"} may read`,
      cell: (row) => {
        const may = mine(row);
        return may === null ? <span class="dim">the server does not say</span> : may ? <span class="good">✓ yes</span> : <span class="dim">no</span>;
      },
      sort: (row) => (mine(row) ? 1 : 0),
    },
  ];
  const shown = kept(rows ?? [], q, (row) => `${row.pattern} ${row.producer} ${row.readers.map((each) => each.service).join(" ")}`);
  return (
    <>
      <div class="title">
        <h1>Permissions</h1>
        <Age of={source} />
        <Filter value={q} what="subjects" />
      </div>
      <Mine rights={rights} />
      <Troubles of={source} />
      <Waiting of={source} />
      {shown.length > 0 && <Table main label="subjects and who may" rows={shown} columns={columns} id={(row) => row.pattern} />}
      {rows && shown.length === 0 && <Nothing title="None matches." />}
    </>
  );
}

/** Whether a pattern covers a form, whose own wildcards stand for any token. */
const covers = (pattern: string, form: string): boolean => matches(pattern, form.replace(/\{[^}]+\}|\*/g, "_").replace(/>$/, "_"));

export function Mine({ rights }: { rights: Rights | null }) {
  const asked = useSignal(param("may"));
  const found = me.value;
  if (!found) return null;
  if (rights === null || !found.secured)
    return (
      <section class="panel body">
        <h2>You</h2>
        <p>
          {found.secured
            ? "The server does not say what you may. Everything is offered here; what may not be, the server refuses."
            : "This bus has no authentication: whoever reaches it may do everything."}
        </p>
      </section>
    );
  const text = asked.value.trim();
  const verdicts: [string, string[]][] = [
    ["read live", rights.subjects],
    ["look up", rights.looks.map((each) => `look.v1.${each}`)],
    ["have done", rights.acts.map((each) => `act.v1.${each}`)],
  ];
  return (
    <section class="panel" aria-labelledby="mine">
      <header>
        <h2 id="mine">
          {found.name}: {found.roles.join(", ") || "no role"}
        </h2>
        <label class="right">
          <span class="dim">may I?</span>{" "}
          <input type="text" class="mono wider" placeholder="act.v1.halt.clear.all" spellcheck={false} value={asked.value} onInput={(event) => (asked.value = event.currentTarget.value)} onChange={() => set({ may: asked.value })} />
        </label>
        {text && (
          <b class={verdicts.some(([, patterns]) => patterns.some((pattern) => matches(pattern, text))) ? "good" : "critical"}>
            {verdicts
              .filter(([, patterns]) => patterns.some((pattern) => matches(pattern, text)))
              .map(([name]) => `yes: ${name}`)
              .join(", ") || "no"}
          </b>
        )}
      </header>
      <dl class="facts body">
        <dt>reads</dt>
        <dd class="mono">{rights.subjects.join("  ") || "nothing"}</dd>
        <dt>history of</dt>
        <dd class="mono">{rights.streams.join("  ") || "no stream"}</dd>
        <dt>looks up</dt>
        <dd class="mono">{rights.looks.join("  ") || "nothing"}</dd>
        <dt>may have done</dt>
        <dd class="mono">{rights.acts.join("  ") || "nothing"}</dd>
      </dl>
    </section>
  );
}

