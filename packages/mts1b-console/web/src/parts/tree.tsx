// A payload as a tree: exact figures, folded beyond the second level, cut where it is huge, with a way to see all.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { type Exact, readExact } from "../base/exact";
import { bytes, count, visible } from "../base/format";

const LONG = 2_000;
const MANY = 100;
const OPEN_TO = 2;

/** Words of a schema for the fields of the top level. */
export type Words = Record<string, string>;

export function Payload({ text, words, truncated, size }: { text: string; words: Words; truncated: boolean; size: number }) {
  const exact = useMemo(() => (truncated ? null : readExact(text)), [text, truncated]);
  if (exact === null) {
    return (
      <>
        <p class="warning">
          {truncated
            ? `The payload has ${bytes(size)}: its first ${bytes(text.length)} as text. `
            : "This is no JSON: the payload as text. "}
        </p>
        <Raw text={text} />
      </>
    );
  }
  return (
    <div class="tree">
      <Value value={exact} depth={0} words={words} />
    </div>
  );
}

/** Text as it came, cut until somebody wants all of it. */
export function Raw({ text }: { text: string }) {
  const all = useSignal(false);
  const shown = all.value ? text : text.slice(0, LONG * 4);
  return (
    <>
      <pre class="raw data">
        <bdi>{visible(shown, { lines: true })}</bdi>
      </pre>
      {shown.length < text.length && (
        <button type="button" onClick={() => (all.value = true)}>
          show all ({count(text.length)} characters)
        </button>
      )}
    </>
  );
}

function Value({ value, depth, words }: { value: Exact; depth: number; words: Words }) {
  switch (value.kind) {
    case "text":
      return <Text text={value.text} />;
    case "figure":
      return <span class="figure">{value.text}</span>;
    case "word":
      return <span class="word">{value.text}</span>;
    case "list":
      return (
        <Branch
          label={`[ ${count(value.items.length)} ]`}
          depth={depth}
          rows={value.items.map((item, at) => [String(at), item] as const)}
          words={{}}
        />
      );
    case "object":
      return <Branch label={`{ ${count(value.members.length)} }`} depth={depth} rows={value.members} words={words} />;
  }
}

function Text({ text }: { text: string }) {
  const all = useSignal(false);
  const shown = all.value ? text : text.slice(0, LONG);
  return (
    <span class="text data">
      <bdi>“{visible(shown)}”</bdi>
      {shown.length < text.length && (
        <button type="button" class="plain" onClick={() => (all.value = true)}>
          … show all ({count(text.length)} characters)
        </button>
      )}
    </span>
  );
}

interface BranchProps {
  label: string;
  depth: number;
  rows: readonly (readonly [string, Exact])[];
  words: Words;
}

function Branch({ label, depth, rows, words }: BranchProps) {
  const shown = useSignal(MANY);
  const open = useSignal(depth < OPEN_TO);
  if (rows.length === 0) return <span class="dim">{label.startsWith("[") ? "[ ]" : "{ }"}</span>;
  const list = (
    <ul>
      {rows.slice(0, shown.value).map(([name, value], at) => (
        <li key={at}>
          <span class="name data">{visible(name)}</span> <Value value={value} depth={depth + 1} words={{}} />
          {words[name] && <span class="doc"> · {words[name]}</span>}
        </li>
      ))}
      {rows.length > shown.value && (
        <li>
          <button type="button" class="plain" onClick={() => (shown.value += 10 * MANY)}>
            … show {count(Math.min(rows.length - shown.value, 10 * MANY))} more of {count(rows.length)}
          </button>
        </li>
      )}
    </ul>
  );
  if (depth === 0) return list;
  return (
    <details open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary class="dim">{label}</summary>
      {open.value && list}
    </details>
  );
}
