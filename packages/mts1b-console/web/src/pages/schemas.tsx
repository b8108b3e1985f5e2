// Schemas: the fields in words, the versions, and what a change between them means for readers.
import { plainWords, plural } from "../base/format";
import { go, param } from "../base/route";
import { useSource } from "../base/source";
import type { SchemaChange, SchemaFound, SchemaRow, Schemas } from "../shapes";
import { Age, Copy, Nothing, Troubles, Waiting } from "../parts/bits";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";
import { Raw } from "../parts/tree";

export function SchemasPage({ chosen }: { chosen: string }) {
  const source = useSource<Schemas>("/api/schemas", 0);
  const rows = source.data.value?.schemas ?? null;
  const q = param("q");
  const columns: Column<SchemaRow>[] = [
    { id: "schema", head: "schema", cell: (row) => <b>{row.schema_id.split(".").pop()}</b>, sort: (row) => row.schema_id },
    { id: "id", head: "id", cell: (row) => <span class="mono">{row.schema_id}</span>, sort: (row) => row.schema_id },
    { id: "subjects", head: "subjects", num: true, cell: (row) => row.subjects, sort: (row) => row.subjects },
    { id: "description", head: "what it is", cell: (row) => plainWords(row.description), class: "rest" },
  ];
  const shown = kept(rows ?? [], q, (row) => `${row.schema_id} ${row.description}`);
  return (
    <>
      <div class="title">
        <h1>Schemas</h1>
        {rows && <span>{plural(rows.length, "schema")}</span>}
        <Age of={source} />
        <Filter value={q} what="schemas" />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {chosen && <One id={chosen} />}
      {rows && shown.length === 0 && <Nothing title="None matches." />}
      {shown.length > 0 && <Table main label="schemas" rows={shown} columns={columns} id={(row) => row.schema_id} chosen={chosen} onOpen={(row) => go(`/schemas/${encodeURIComponent(row.schema_id)}`)} />}
    </>
  );
}

const BREAKS = /break|incompatible/i;

function One({ id }: { id: string }) {
  const source = useSource<SchemaFound>(`/api/schemas/${encodeURIComponent(id)}`, 0);
  const found = source.data.value;
  const raw = param("raw") === "yes";
  if (!found) return <Troubles of={source} />;
  const required = new Set((found.document?.["required"] as string[] | undefined) ?? []);
  return (
    <section class="panel" aria-label={`schema ${id}`}>
      <header>
        <h2 class="mono">{found.schema_id}</h2>
        <Copy text={found.schema_id} />
        <span>
          versions{" "}
          {found.versions.map((version) => (
            <>
              {version === found.schema_id ? <b>{version.split(":").pop()}</b> : <a href={`/schemas/${encodeURIComponent(version)}`}>{version.split(":").pop()}</a>}{" "}
            </>
          ))}
        </span>
        <a class="right" href="/schemas">
          close
        </a>
      </header>
      <div class="body">
        <p class="about">{plainWords(found.description)}</p>
        <div class="columns">
          <div>
            <h3>Fields</h3>
            <dl class="facts">
              {Object.entries(found.fields).map(([name, words]) => (
                <>
                  <dt class="mono">
                    {name}
                    {!required.has(name) && <span title="may be left out"> ?</span>}
                  </dt>
                  <dd>{plainWords(words)}</dd>
                </>
              ))}
            </dl>
          </div>
          <div>
            <h3>{found.against ? `What changed since ${found.against.split(":").pop()}` : "The first version"}</h3>
            {found.against && found.changes.length === 0 && <p class="dim">Nothing.</p>}
            {found.changes.length > 0 && <Changes changes={found.changes} />}
            <h3>Carried by</h3>
            <ul class="plainlist mono">
              {found.subjects.map((subject) => (
                <li key={subject}>
                  <a href={`/subjects/${encodeURIComponent(subject)}`}>{subject}</a>
                </li>
              ))}
            </ul>
          </div>
        </div>
        <details open={raw}>
          <summary>the JSON Schema</summary>
          <Raw text={JSON.stringify(found.document, null, 2)} />
        </details>
      </div>
    </section>
  );
}

function Changes({ changes }: { changes: SchemaChange[] }) {
  return (
    <table class="grid">
      <thead>
        <tr>
          <th scope="col">for readers</th>
          <th scope="col">field</th>
          <th scope="col">change</th>
        </tr>
      </thead>
      <tbody>
        {changes.map((change) => (
          <tr key={`${change.path} ${change.words}`}>
            <td class={BREAKS.test(change.compatibility) ? "critical strong" : ""}>
              {BREAKS.test(change.compatibility) ? "✖ " : ""}
              {change.compatibility.replaceAll("_", " ")}
            </td>
            <td class="mono">{change.path}</td>
            <td class="wrap">{change.words}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
