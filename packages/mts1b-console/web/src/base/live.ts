// The one live connection of this page. It comes back by itself, and opens again what was open.
import { signal } from "@preact/signals";
import { me } from "./me";
import type { Ended, Frame, FromBrowser, Opened, Problem, ToBrowser, Watch } from "../shapes";

export type Mode = NonNullable<Watch["mode"]>;
export type Row = Frame["rows"][number];
export type LiveState = "idle" | "connecting" | "up" | "down";

export const live = signal<LiveState>("idle");
/** When something was last heard on it. */
export const heardAt = signal(Number.NaN);

export interface Tail {
  subject: string;
  mode: Mode;
  q: string;
  paused: boolean;
  onFrame(frame: Frame): void;
  onOpened(opened: Opened): void;
  onTrouble(problem: Problem): void;
  onAgain(): void;
}

const tails = new Map<number, Tail>();
let socket: WebSocket | null = null;
let retry: ReturnType<typeof setTimeout> | undefined;
let failures = 0;
let nextId = 1;

function say(word: FromBrowser): void {
  if (socket?.readyState === WebSocket.OPEN && live.peek() === "up") socket.send(JSON.stringify(word));
}

function connect(): void {
  if (socket) return;
  live.value = "connecting";
  const opened = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket = opened;
  opened.addEventListener("open", () => opened.send(JSON.stringify({ op: "hello", csrf: me.peek()?.csrf ?? "" })));
  opened.addEventListener("message", (message) => hear(JSON.parse(message.data as string) as ToBrowser));
  opened.addEventListener("close", () => {
    if (socket !== opened) return;
    socket = null;
    if (live.peek() === "idle") return;
    live.value = "down";
    failures += 1;
    clearTimeout(retry);
    if (tails.size) retry = setTimeout(connect, Math.min(5000, 250 * 2 ** failures));
  });
}

function hear(word: ToBrowser): void {
  heardAt.value = Date.now();
  switch (word.type) {
    case "welcome":
      failures = 0;
      live.value = "up";
      for (const [id, tail] of tails) {
        tail.onAgain();
        begin(id, tail);
      }
      say({ op: "hidden", hidden: document.hidden });
      return;
    case "frame":
      return tails.get(word.id)?.onFrame(word);
    case "opened":
      return tails.get(word.id)?.onOpened(word);
    case "trouble":
      if (word.id !== null) return tails.get(word.id)?.onTrouble(word.problem);
      for (const tail of tails.values()) tail.onTrouble(word.problem);
      return;
    case "ended":
      return end(word);
  }
}

function end(word: Ended): void {
  for (const tail of tails.values()) tail.onTrouble(word.problem);
  if (me.peek()) me.value = { ...me.peek()!, name: null };
}

function begin(id: number, tail: Tail): void {
  say({ op: "watch", id, subject: tail.subject, mode: tail.mode, q: tail.q });
  if (tail.paused) say({ op: "pause", id });
}

/** Open a tail; returns how to change and to end it. */
export function openTail(tail: Tail): { change(): void; pause(paused: boolean): void; open(row: number): void; close(): void } {
  const id = nextId++;
  tails.set(id, tail);
  connect();
  begin(id, tail);
  return {
    change: () => begin(id, tail),
    pause: (paused) => {
      tail.paused = paused;
      say({ op: paused ? "pause" : "resume", id });
    },
    open: (row) => say({ op: "open", id, row }),
    close: () => {
      say({ op: "close", id });
      tails.delete(id);
      if (tails.size === 0) {
        live.value = "idle";
        clearTimeout(retry);
        socket?.close();
        socket = null;
      }
    },
  };
}

addEventListener("visibilitychange", () => {
  if (!document.hidden) heardAt.value = Date.now(); // a page that is hidden is told nothing
  say({ op: "hidden", hidden: document.hidden });
});
