// Keys from the first moment on. What is pressed before it is known whom the page is for waits until it is: when the
// page is opened, and while somebody signs in.
import { signal } from "@preact/signals";
import { chord, focusedControl, press } from "./keys";

interface Kept {
  event: KeyboardEvent;
  at: number;
}

const MOST = 10;
/** A halt that somebody wanted long ago is no halt of now. */
const MILLISECONDS = 30_000;
const BROWSERS = /^(Tab|F\d+|Dead|Unidentified|Alt|AltGraph|CapsLock|Control|Fn|Hyper|Meta|NumLock|ScrollLock|Shift|Super)$/;

const kept = signal<readonly Kept[]>([]);
let keeping = true;

const fresh = ({ at }: Kept): boolean => Date.now() - at < MILLISECONDS;

/** The keys that wait, oldest first. */
export const waiting = (): string[] => kept.value.filter(fresh).map(({ event }) => chord(event));

export function listen(): void {
  addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    if (keeping) keep(event);
    else press(event);
  });
}

function keep(event: KeyboardEvent): void {
  const pressed = chord(event);
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !BROWSERS.test(event.key);
  if (!plain && pressed !== "Ctrl K" && pressed !== "Alt Shift H") return;
  event.preventDefault();
  if (pressed === "Escape") kept.value = [];
  else if (!event.repeat) kept.value = [...kept.peek(), { event, at: Date.now() }].slice(-MOST);
}

/** It is known whom the page is for: what was pressed meanwhile happens now, in its order. */
export async function pressWaiting(): Promise<void> {
  while (keeping) {
    await new Promise((done) => setTimeout(done)); // what the one before opened is drawn
    const [next, ...rest] = kept.peek();
    kept.value = rest;
    if (!next) keeping = false;
    else if (fresh(next) && !press(next.event) && next.event.key === "Enter") focusedControl()?.click(); // as the browser would have
  }
}

/** Somebody signs in: what is pressed until the answer is there is for the page that follows. */
export function keepWaiting(): void {
  keeping = true;
}

/** Nobody is signed in: what was pressed meanwhile was for somebody else. */
export function forgetWaiting(): void {
  kept.value = [];
  keeping = false;
}
