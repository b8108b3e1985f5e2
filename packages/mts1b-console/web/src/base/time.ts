// Times are UTC and say so. What a person's own zone makes of them, and how long ago it was, is in the title.
import { signal } from "@preact/signals";

/** Milliseconds by which the console's clock is ahead of this browser's. */
let ahead = 0;

export const now = (): number => Date.now() + ahead;

/** Learn the console's clock from an answer: its time, and when the question went out and the answer came. */
export function learnClock(theirs: number, sent: number, came: number): void {
  const offset = theirs - (sent + came) / 2;
  if (Math.abs(offset) > 1500) ahead = offset;
}

/** Ticks each second, while somebody can see it. */
export const tick = signal(Date.now());
setInterval(() => {
  if (!document.hidden) tick.value = now();
}, 1000);

export type Zone = "utc" | "local";
export const zone = signal<Zone>(localStorage.getItem("zone") === "local" ? "local" : "utc");

const two = (value: number): string => String(value).padStart(2, "0");

export function parse(time: string | number | null | undefined): number {
  if (typeof time === "number") return time;
  return time ? Date.parse(time) : Number.NaN;
}

interface Parts {
  date: string;
  time: string;
  millis: string;
  suffix: string;
}

function parts(ms: number, of: Zone): Parts {
  const at = new Date(ms);
  const [year, month, day, hour, minute, second, milli] =
    of === "utc"
      ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds(), at.getUTCMilliseconds()]
      : [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds(), at.getMilliseconds()];
  return {
    date: `${year}-${two(month + 1)}-${two(day)}`,
    time: `${two(hour)}:${two(minute)}:${two(second)}`,
    millis: String(milli).padStart(3, "0"),
    suffix: of === "utc" ? "Z" : offset(at),
  };
}

function offset(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  const sign = minutes < 0 ? "-" : "+";
  return `${sign}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
}

/** `03:12:44Z`; with the date when it is not today's; with milliseconds when asked. */
export function clock(time: string | number | null | undefined, { millis = false, date = "auto" as "auto" | "always" | "never" } = {}): string {
  const ms = parse(time);
  if (Number.isNaN(ms)) return "–";
  const said = parts(ms, zone.value);
  const withDate = date === "always" || (date === "auto" && said.date !== parts(now(), zone.value).date);
  return `${withDate ? `${said.date} ` : ""}${said.time}${millis ? `.${said.millis}` : ""}${said.suffix}`;
}

/** Both zones and the age, for a title. */
export function both(time: string | number): string {
  const ms = parse(time);
  if (Number.isNaN(ms)) return "no time is known";
  const [utc, local] = [parts(ms, "utc"), parts(ms, "local")];
  return `${utc.date} ${utc.time}.${utc.millis} UTC\n${local.date} ${local.time}.${local.millis} ${local.suffix} here\n${ago(ms)}`;
}

/** `0.4 s`, `41 s`, `12 min`, `3 h`, `9 d`. */
export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const value = Math.abs(seconds);
  if (value === Infinity) return "∞";
  if (value === 0) return "0 s";
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172_800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86_400)} d`;
}

export function ago(time: string | number | null | undefined): string {
  const ms = parse(time);
  if (Number.isNaN(ms)) return "never";
  const seconds = (now() - ms) / 1000;
  return seconds < -1 ? `in ${span(seconds)}` : `${span(Math.max(0, seconds))} ago`;
}
