// Keys: pages and parts register what they understand; `?` shows the list. A key in a text field is text.
import { useLayoutEffect, useRef } from "preact/hooks";

export interface Key {
  /** As written: `j`, `Enter`, `Ctrl K`, `Shift H`, `g n`, `?`. */
  keys: string;
  words: string;
  run: (event: KeyboardEvent) => void;
  /** Works while a text field has the focus too. */
  always?: boolean;
  /** Heading in the list of keys. */
  group?: string;
}

interface Layer {
  current: Key[];
}

const layers: Layer[] = [];

/** The keys that work now, the newest layer first. A modal layer hides what lies under it. */
export function known(): Key[] {
  return layers.toReversed().flatMap((layer) => layer.current);
}

let modal = 0;
export const dialogIsOpen = (): boolean => modal > 0;
export function enterModal(): () => void {
  modal += 1;
  return () => {
    modal -= 1;
  };
}

let begun = "";
let begunAt = 0;

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !(target instanceof HTMLInputElement && /^(checkbox|radio|button)$/.test(target.type));

/** How a key is written in a list of keys. */
export function chord(event: KeyboardEvent): string {
  const key = event.key === " " ? "Space" : event.key;
  const mods: string[] = [];
  if (event.ctrlKey || event.metaKey) mods.push("Ctrl");
  if (event.altKey) mods.push("Alt");
  const letter = /^[a-zA-Z]$/.test(key);
  if (event.shiftKey && (letter || key.length > 1)) mods.push("Shift");
  return [...mods, letter && mods.length ? key.toUpperCase() : key].join(" ");
}

/** Do what the key means here and now; whether it means something. What does not is the browser's. */
export function press(event: KeyboardEvent): boolean {
  const pressed = chord(event);
  const inField = typing(event.target);
  const sequence = begun && Date.now() - begunAt < 1500 ? `${begun} ${pressed}` : "";
  begun = "";
  for (const layer of layers.toReversed()) {
    const found = layer.current.find((key) => (key.keys === pressed || key.keys === sequence) && (!inField || key.always));
    if (!found) continue;
    if (dialogIsOpen() && !found.always) continue;
    if ((pressed === "Enter" || pressed === "Space") && focusedControl() && !found.always && !event.repeat) return false;
    event.preventDefault();
    if (!event.repeat || /^(j|k|Arrow)/.test(pressed)) found.run(event);
    return true;
  }
  if (pressed === "g" && !inField && !dialogIsOpen()) {
    begun = "g";
    begunAt = Date.now();
  }
  return false;
}

/** What Enter and Space press by the browser's own rules. */
export function focusedControl(): HTMLElement | null {
  const focused = document.activeElement;
  return focused instanceof HTMLElement && /^(A|BUTTON|SUMMARY)$/.test(focused.tagName) ? focused : null;
}

/**
 * Keys that work while the component is shown. The list may be another one on each rendering. What is under `all` has
 * the last word, whenever it was shown: the page's own keys go first. They work from the moment on in which it is shown.
 */
export function useKeys(keys: Key[], under: "page" | "all" = "page"): void {
  const latest = useRef(keys);
  latest.current = keys;
  useLayoutEffect(() => {
    if (under === "all") layers.unshift(latest);
    else layers.push(latest);
    return () => {
      layers.splice(layers.indexOf(latest), 1);
    };
  }, []);
}
