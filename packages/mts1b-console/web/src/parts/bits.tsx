// The small parts that every page is made of.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Refusal } from "../base/api";
import { visible } from "../base/format";
import type { Answer, Problem } from "../shapes";
import type { Source } from "../base/source";
import { ago, both, clock, now, parse, span, tick } from "../base/time";

/** A moment; both zones and the age in its title. */
export function When(props: { t: string | number | null | undefined; millis?: boolean; date?: "auto" | "always" | "never" }) {
  const { t, ...how } = props;
  if (t === null || t === undefined || Number.isNaN(parse(t))) return <span class="dim">–</span>;
  return (
    <time dateTime={new Date(parse(t)).toISOString()} title={both(t)}>
      {clock(t, how)}
    </time>
  );
}

/** How long ago, counting on. */
export function Ago({ t }: { t: string | number | null | undefined }) {
  tick.value;
  return <span title={t === null || t === undefined ? "" : both(t)}>{ago(t)}</span>;
}

/** For how long, counting on. */
export function For({ t }: { t: string | number | null | undefined }) {
  tick.value;
  const ms = parse(t);
  return <span title={Number.isNaN(ms) ? "" : both(ms)}>{Number.isNaN(ms) ? "–" : span(Math.max(0, now() - ms) / 1000)}</span>;
}

/** When an answer was true. Older than three intervals it says so. */
export function Age({ of, part }: { of: Source<unknown>; part?: Answer | null }) {
  tick.value;
  const at = part ? parse(part.read_at) : of.at.value;
  const error = of.error.value;
  const unknown = (part ?? (of.data.value as Answer | null))?.unknown;
  if (Number.isNaN(at)) return <span class="age">{of.asking.value ? "asking…" : "not read yet"}</span>;
  const seconds = Math.max(0, (now() - at) / 1000);
  if (isDenied(unknown)) return null;
  const old = Boolean(unknown) || Boolean(error) || (of.every > 0 && seconds * 1000 > Math.max(3 * of.every, 4000));
  return (
    <span class={old ? "age old" : "age"} title={both(at)}>
      {old ? `▲ as of ${clock(at)}, ${span(seconds)} old` : `read ${span(Math.max(1, Math.round(seconds)))} ago`}
    </span>
  );
}

/** Whether something is not known because it is not for this person: no fault of anything. */
export const isDenied = (problem: Problem | Error | null | undefined): boolean => problem != null && "code" in problem && problem.code === "access-denied";

/** What went wrong, and what to do. */
export function Trouble({ problem }: { problem: Problem | Error | null | undefined }) {
  if (!problem) return null;
  if (isDenied(problem))
    return (
      <p class="denied">
        <strong>Not for your role.</strong> <Data>{problem.message}</Data>. <a href="/permissions">What it may see</a>
      </p>
    );
  const todo = problem instanceof Refusal ? problem.whatToDo : "what_to_do" in problem ? (problem as Problem).what_to_do : "";
  return (
    <div class="trouble" role="alert">
      <strong class="data">{visible(problem.message)}</strong> <span class="todo data">{visible(todo)}</span>
    </div>
  );
}

/** The page's own error, and what the answer says is unknown. */
export function Troubles({ of, part }: { of: Source<unknown>; part?: Answer | null }) {
  const unknown = (part ?? (of.data.value as Answer | null))?.unknown;
  return (
    <>
      <Trouble problem={of.error.value} />
      <Trouble problem={unknown} />
    </>
  );
}

export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="nothing">
      <strong>{title}</strong> {children}
    </div>
  );
}

/** What is shown before the first answer, instead of it. */
export function Waiting({ of }: { of: Source<unknown> }) {
  if (of.data.value || of.error.value) return null;
  return <div class="nothing">Asking the console…</div>;
}

/** Text that came from outside: as text, visible, not turning what stands beside it. */
export function Data({ children, class: name = "" }: { children: string | null | undefined; class?: string }) {
  return <bdi class={`data ${name}`}>{children === null || children === undefined || children === "" ? "–" : visible(children)}</bdi>;
}

/** A name that may go on in the next line where one of its words ends, and nowhere else. */
export function Name({ children }: { children: string }) {
  const words = visible(children).split(/(?<=[_/.:-])/);
  return <bdi class="data">{words.flatMap((word, index) => (index ? [<wbr />, word] : [word]))}</bdi>;
}

export function Copy({ text, label = "copy" }: { text: string; label?: string }) {
  const done = useSignal(false);
  const copy = async (): Promise<void> => {
    await copyText(text);
    done.value = true;
    setTimeout(() => {
      done.value = false;
    }, 1500);
  };
  return (
    <button type="button" class="plain" onClick={() => void copy()} aria-label={`${label}: ${text.slice(0, 80)}`}>
      {done.value ? "copied" : label}
    </button>
  );
}

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea"); // plain http on another host than loopback has no clipboard
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  announce("copied");
}

/** A command for the terminal. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code tabIndex={0} aria-label={`command: ${text}`}>
        {visible(text)}
      </code>
      <Copy text={text} />
    </div>
  );
}

export function Meter({ share, words }: { share: number | null; words: string }) {
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    if (bar.current) bar.current.style.width = `${Math.round(Math.min(1, Math.max(0, share ?? 0)) * 100)}%`;
  }, [share]);
  const kind = share === null ? "" : share >= 0.9 ? "critical" : share >= 0.7 ? "warning" : "";
  return (
    <span class="meter" role="img" aria-label={words} title={words}>
      <i ref={bar} class={kind} />
    </span>
  );
}

/** A small line; `least` is the least height of its scale, so that noise is not drawn as trouble; the words say what it shows to whoever does not see it. */
export function Spark({ points, words, least = 1e-9 }: { points: number[]; words: string; least?: number }) {
  if (points.length < 2) return <span class="dim">–</span>;
  const thin = points.length > 80 ? points.filter((_, at) => at % Math.ceil(points.length / 80) === 0) : points;
  const top = Math.max(...thin, least);
  const line = thin.map((value, at) => `${((at / (thin.length - 1)) * 80).toFixed(1)},${(17 - (value / top) * 15).toFixed(1)}`);
  return (
    <svg class="spark" viewBox="0 0 80 18" role="img" aria-label={words} preserveAspectRatio="none">
      <title>{words}</title>
      <polyline points={line.join(" ")} />
    </svg>
  );
}

export interface Choice<T extends string> {
  value: T;
  label: string;
  title?: string;
}

export function Choices<T extends string>(props: { label: string; value: T; choices: Choice<T>[]; onChoose: (value: T) => void }) {
  return (
    <span class="choices" role="group" aria-label={props.label}>
      {props.choices.map((choice) => (
        <button
          key={choice.value}
          type="button"
          aria-pressed={choice.value === props.value}
          title={choice.title}
          onClick={() => props.onChoose(choice.value)}
        >
          {choice.label}
        </button>
      ))}
    </span>
  );
}

/** Say something to screen readers: politely, or at once. */
export function announce(words: string, urgent = false): void {
  const region = document.getElementById(urgent ? "say-now" : "say");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = words;
  });
}
