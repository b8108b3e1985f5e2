// One box for everything: paste an order or a trace, name a subject, a stream, a page, an action.
import { signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get } from "../base/api";
import { mayForAny } from "../base/me";
import { places } from "../base/places";
import { address, go } from "../base/route";
import { turn } from "../base/theme";
import { zone } from "../base/time";
import type { Hit, Hits } from "../shapes";
import { Data } from "./bits";
import { Dialog } from "./dialog";
import { haltDialog } from "./halt";
import { helpDialog } from "./help";

export const palette = signal(false);

interface Entry {
  id: string;
  kind: string;
  title: string;
  detail: string;
  run: () => void;
}

const actions: Entry[] = [
  ...places.map((place) => ({ id: place.path, kind: "page", title: place.name, detail: `g ${place.key}`, run: () => go(place.path) })),
  { id: "halt", kind: "do", title: "Halt trading…", detail: "Shift H", run: () => (haltDialog.value = true) },
  { id: "theme", kind: "do", title: "Turn dark and light", detail: "", run: turn },
  { id: "zone", kind: "do", title: "Show times in UTC or in the local zone", detail: "", run: () => turnZone() },
  { id: "keys", kind: "do", title: "Show the keys", detail: "?", run: () => (helpDialog.value = true) },
];

export function turnZone(): void {
  zone.value = zone.value === "utc" ? "local" : "utc";
  localStorage.setItem("zone", zone.value);
}

export function Palette() {
  return palette.value ? <Open /> : null;
}

const ORDER_LIKE = /^[\w.=-]{8,}$/;
const TRACE = /^[0-9a-f]{32}$/;
const PLACE = /^([A-Z][A-Z0-9_]+):(\d+)$/;

/** What a text is by its looks, before the console has answered. */
function guesses(text: string): Entry[] {
  const found: Entry[] = [];
  const add = (kind: string, title: string, href: string): void => {
    found.push({ id: href, kind, title, detail: "", run: () => go(href) });
  };
  const place = PLACE.exec(text);
  if (place) add("event", text, `/event/${place[1]}/${place[2]}`);
  if (TRACE.test(text)) add("trace", text, `/trace/${text}`);
  else if (ORDER_LIKE.test(text) && /[.\d-]/.test(text) && !text.startsWith("mts.") && !place) add("order", text, `/order/${encodeURIComponent(text)}`);
  if (text) {
    add("search", `events with ${text}`, address("/events", { q: text }));
    if (text.startsWith("mts.")) add("tail", `tail ${text}`, address("/tail", { subject: text }));
  }
  return found;
}

function Open() {
  const text = useSignal("");
  const hits = useSignal<Hit[]>([]);
  const chosen = useSignal(0);
  const list = useRef<HTMLUListElement>(null);
  const close = (): void => {
    palette.value = false;
  };
  const wanted = text.value.trim();
  useEffect(() => {
    hits.value = [];
    if (!wanted) return;
    const timer = setTimeout(() => {
      get<Hits>(`/api/find?q=${encodeURIComponent(wanted)}`, 4000).then(
        (found) => {
          if (text.peek().trim() === wanted) hits.value = found.hits ?? [];
        },
        () => undefined,
      );
    }, 120);
    return () => clearTimeout(timer);
  }, [wanted]);

  const plain = wanted.toLowerCase();
  const named = actions.filter((entry) => (!plain || entry.title.toLowerCase().includes(plain)) && (entry.id !== "halt" || mayForAny("halt.request")));
  const guessed = guesses(wanted);
  const answered = hits.value.map((hit) => ({ id: hit.href, kind: hit.kind, title: hit.title, detail: hit.detail, run: () => go(hit.href) }));
  const found = new Set(answered.map((hit) => decodeURIComponent(hit.id)));
  const known = answered.some((hit) => hit.kind === "order" && hit.title.includes(wanted));
  const strong = guessed.filter(
    (entry) => entry.kind !== "search" && entry.kind !== "tail" && !found.has(decodeURIComponent(entry.id)) && !(entry.kind === "order" && known),
  );
  const weak = guessed.filter((entry) => entry.kind === "search" || entry.kind === "tail");
  const entries = [...strong, ...answered, ...named, ...weak].slice(0, 60);
  const at = Math.min(chosen.value, entries.length - 1);

  const run = (entry: Entry | undefined): void => {
    if (!entry) return;
    close();
    entry.run();
  };
  const onKey = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by) {
      chosen.value = (at + by + entries.length) % Math.max(1, entries.length);
      requestAnimationFrame(() => list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter") run(entries[at]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog label="find or do" class="palette" onClose={close}>
      <input
        type="text"
        data-first
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={at >= 0 ? `palette-${at}` : undefined}
        aria-label="order, trace, subject, stream, page or action"
        placeholder="paste an order or trace id; or name a subject, a stream, a page"
        autocomplete="off"
        spellcheck={false}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          chosen.value = 0;
        }}
        onKeyDown={onKey}
      />
      <ul id="palette-list" role="listbox" aria-label="what was found" ref={list}>
        {entries.map((entry, index) => (
          <li key={`${entry.kind} ${entry.id}`} id={`palette-${index}`} role="option" aria-selected={index === at} onClick={() => run(entry)}>
            <span class="cut">
              <span class="dim">{entry.kind}</span> <Data>{entry.title}</Data>
            </span>
            <span class="dim cut">
              <bdi>{entry.detail}</bdi>
            </span>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
