// Asking the console. Errors arrive as words: what happened, and what to do about it.
import { learnClock } from "./time";

export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly whatToDo: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const AWAY = "Look whether `mts1b console serve` is running; this page tries again by itself.";

let csrf = "";
export function useToken(token: string): void {
  csrf = token;
}

/** Called when the console no longer knows who we are. */
export const session = { ended: (): void => undefined };

async function send<T>(url: string, options: RequestInit, within: number): Promise<T> {
  const sent = Date.now();
  let answer: Response;
  try {
    answer = await fetch(url, { ...options, credentials: "same-origin", signal: AbortSignal.timeout(within) });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    const why = late ? `The console has not answered within ${within / 1000} s.` : "The console does not answer.";
    throw new Refusal(late ? "late" : "away", why, AWAY, 0);
  }
  const document = await answer.json().catch(() => null);
  const theirs = Date.parse(answer.headers.get("date") ?? "");
  if (!Number.isNaN(theirs)) learnClock(theirs + 500, sent, Date.now());
  if (answer.ok) return document as T;
  const error = document?.error;
  if (answer.status === 401) session.ended();
  throw new Refusal(
    error?.code ?? `http-${answer.status}`,
    error?.message ?? `The console answered with status ${answer.status}.`,
    error?.what_to_do ?? AWAY,
    answer.status,
  );
}

export const get = <T>(url: string, within = 10_000): Promise<T> => send<T>(url, { headers: { accept: "application/json" } }, within);

export const post = <T>(url: string, body: unknown, within = 10_000): Promise<T> =>
  send<T>(
    url,
    {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json", "x-csrf": csrf },
      body: JSON.stringify(body),
    },
    within,
  );
