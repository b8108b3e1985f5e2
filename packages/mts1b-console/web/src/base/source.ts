// What is asked again and again: one source an address, shared by all who show it, with its age.
import { batch, type Signal, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get, Refusal } from "./api";
import type { Answer } from "../shapes";
import { now, parse } from "./time";

export interface Source<T> {
  readonly url: string;
  readonly every: number;
  readonly data: Signal<T | null>;
  readonly error: Signal<Refusal | null>;
  /** When the data was true, in milliseconds: the answer's own `read_at`, else when it came. */
  readonly at: Signal<number>;
  readonly asking: Signal<boolean>;
  again(): Promise<void>;
}

class Polled<T> implements Source<T> {
  readonly data = signal<T | null>(null);
  readonly error = signal<Refusal | null>(null);
  readonly at = signal(Number.NaN);
  readonly asking = signal(false);
  private users = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly url: string,
    readonly every: number,
  ) {}

  use(): () => void {
    this.users += 1;
    if (this.users === 1) void this.again();
    return () => {
      this.users -= 1;
      if (this.users === 0) clearTimeout(this.timer);
    };
  }

  /** The tab goes to the back, where nobody looks: nothing is asked. It comes to the front: everything is, at once. */
  seen(now: boolean): void {
    clearTimeout(this.timer);
    if (now && this.users > 0 && this.every > 0) void this.again();
  }

  async again(): Promise<void> {
    if (this.asking.peek()) return;
    clearTimeout(this.timer);
    this.asking.value = true;
    try {
      const document = keepKnown(this.data.peek(), await get<T>(this.url));
      const readAt = parse((document as { read_at?: string } | null)?.read_at);
      batch(() => {
        this.data.value = document;
        this.at.value = Number.isNaN(readAt) ? now() : readAt;
        this.error.value = null;
      });
    } catch (error) {
      this.error.value = error instanceof Refusal ? error : new Refusal("fault", String(error), "Reload the page.", 0);
    } finally {
      this.asking.value = false;
      if (this.users > 0 && this.every > 0 && !document.hidden) this.timer = setTimeout(() => void this.again(), this.every);
    }
  }
}

/** What is not known any more stays as it was last known, with its own time, and says why there is nothing newer. */
function keepKnown<T>(before: T | null, document: T): T {
  if (!before || !document || typeof document !== "object") return document;
  const [old, fresh] = [before as Partial<Answer>, document as Partial<Answer>];
  if (fresh.unknown) return old.read_at === undefined ? document : { ...before, unknown: fresh.unknown };
  if ("read_at" in fresh) return document;
  const parts = Object.entries(document).map(([name, part]) => [name, keepKnown((before as Record<string, unknown>)[name] ?? null, part)]);
  return Object.fromEntries(parts) as T;
}

const sources = new Map<string, Polled<unknown>>();
const MOST = 60;

/** The source of an address, asked every so many milliseconds while it is shown; 0: once. */
export function useSource<T>(url: string | null, every = 5000): Source<T> {
  const source = sourceOf<T>(url ?? "", every);
  useEffect(() => (url === null ? undefined : source.use()), [source]);
  return source;
}

function sourceOf<T>(url: string, every: number): Polled<T> {
  const key = `${every} ${url}`;
  let found = sources.get(key) as Polled<T> | undefined;
  if (!found) {
    found = new Polled<T>(url, every);
    sources.set(key, found as Polled<unknown>);
    const oldest = sources.keys().next().value;
    if (sources.size > MOST && oldest !== undefined) sources.delete(oldest);
  }
  return found;
}

addEventListener("visibilitychange", () => {
  for (const source of sources.values()) source.seen(!document.hidden);
});
