// Figures and texts as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `12,044`; an unknown figure is a question mark, never a nought. */
export const count = (value: number | null | undefined): string =>
  value === null || value === undefined || Number.isNaN(value) ? "?" : whole.format(value);

/** Events a second: `0.4`, `71`, `9,870`. */
export const rate = (value: number | null | undefined): string =>
  value === null || value === undefined ? "?" : value !== 0 && value < 9.95 ? value.toFixed(1) : whole.format(value);

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "?";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit && rest < 9.95 ? rest.toFixed(1) : Math.round(rest)} ${units[unit]}`;
}

export const percent = (share: number | null | undefined): string =>
  share === null || share === undefined ? "?" : share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`;

/** A decimal that came as text, with thousands set apart: nothing is rounded. */
export function decimal(text: string | null | undefined): string {
  if (text === null || text === undefined || text === "") return "–";
  const found = /^(-?)(\d+)(\.\d+)?$/.exec(text);
  if (!found) return text;
  return `${found[1]}${found[2]!.replace(/\B(?=(\d{3})+$)/g, ",")}${found[3] ?? ""}`;
}

export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;

/** `mts1b-oms` → `oms`, where the column says that it is a service. */
export const service = (name: string | null | undefined): string => (name ?? "").replace(/^mts1b-/, "") || "–";

/** `mts.v1.oms.orders.created` → `oms.orders.created`; of another version, `mts.v2.…` → `v2·oms.orders.created`. */
export const subject = (name: string): string => name.replace(/^mts\.v1\./, "").replace(/^(?:mts\.)?(v\d+)\./, "$1·");

/** A description without the marks of code. */
export const plainWords = (text: string): string => text.replaceAll("``", "");

const SYMBOLS = 0x2400;
const TURNING = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Hostile text made visible: control characters as their symbols, marks that turn or hide text by their number. */
export function visible(text: string, { lines = false } = {}): string {
  // eslint-disable-next-line no-control-regex
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, (char) => {
      const code = char.charCodeAt(0);
      if (lines && (code === 10 || code === 9)) return char;
      if (code < 0x20) return String.fromCharCode(SYMBOLS + code);
      return code === 0x7f ? "\u2421" : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
    })
    .replace(TURNING, (char) => `\u27e8U+${char.charCodeAt(0).toString(16).toUpperCase()}\u27e9`);
}

/** The end of a long id, which tells it apart, and the beginning. */
export function shortened(text: string, most = 28): string {
  if (text.length <= most) return text;
  const tail = Math.ceil(most * 0.6);
  return `${text.slice(0, most - tail - 1)}…${text.slice(-tail)}`;
}
