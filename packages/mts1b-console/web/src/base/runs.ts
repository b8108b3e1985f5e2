// Runs: one action on many dead letters. The responders carry it through; closing the page changes nothing about it.
import { signal } from "@preact/signals";
import type { ActRequest, Run, Runs } from "../shapes";
import { act, type Action, order } from "./act";
import type { Source } from "./source";
import { useSource } from "./source";

/** Letters of one run, and how long their names may be all together: a question has at most 64 kB. */
const MOST = 1_000;
const MOST_TEXT = 50_000;

/** Runs that this page has seen the end of. */
export const seen = signal<ReadonlySet<string>>(new Set());

export const useRuns = (): Source<Runs> => useSource<Runs>("/api/deadletters/runs", 1000);

/** As many of the letters as one run takes, the first of them. */
export function fitting(ids: readonly string[]): string[] {
  let room = MOST_TEXT;
  return ids.slice(0, MOST).filter((id) => (room -= id.length + 3) >= 0);
}

export const actionOf = (run: Run): Action => `deadletters/${run.verb}`;

/** In words: what is done, for whom. */
export function named(run: Run): string {
  const whose = run.consumers.join(", ");
  return `${run.verb} for ${run.to === "subject" ? "every reader" : whose || "those that gave up"}`;
}

/** Bring back what a run discarded, or letters one by one. */
export const restore = (body: Pick<ActRequest, "ids" | "undo" | "fund">, requestId: string): Promise<unknown> =>
  act("deadletters/restore", { ...body, run: true, request_id: requestId });

export const say = (run: Run, what: "go-on" | "stop" | "end"): Promise<unknown> => order(actionOf(run), { run_id: run.run_id, order: what, fund: run.fund });

export const dismiss = (run: Run): void => {
  seen.value = new Set([...seen.peek(), run.run_id]);
};
