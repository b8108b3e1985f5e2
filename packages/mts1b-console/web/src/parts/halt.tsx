// Halting, from every page: one gesture opens it, Enter is the second. It needs no figure that could be missing.
import { signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { act, newRequest, seenInForce } from "../base/act";
import { count, plural } from "../base/format";
import { may } from "../base/me";
import { go } from "../base/route";
import { useSource } from "../base/source";
import type { Halts, Orders } from "../shapes";
import { announce, Command, Trouble } from "./bits";
import { Dialog } from "./dialog";

export const haltDialog = signal(false);

/** Halts that were asked for from here, and what has been seen of them. */
export interface Asked {
  haltId: string;
  sentAt: number;
  held: boolean | null;
  seen: "waiting" | "seen" | "not seen";
}
export const asked = signal<Asked | null>(null);

const REASONS = ["precaution: cause not known yet", "prices look wrong", "broker away", "books differ"];

export function HaltDialog() {
  return haltDialog.value ? <Open /> : null;
}

function Open() {
  const halts = useSource<Halts>("/api/halts", 2000);
  const orders = useSource<Orders>("/api/orders", 2000);
  const fund = useSignal<string | null>(may("halt.request") ? null : "");
  const reason = useSignal(REASONS[0]!);
  const own = useSignal("");
  const request = useRef(newRequest());
  const sending = useSignal(false);
  const trouble = useSignal<Error | null>(null);
  const funds = halts.data.value?.funds ?? [];
  const allowed = funds.filter((each) => may("halt.request", each));
  const all = may("halt.request");
  const scope = fund.value === null ? "every fund" : fund.value || "…";
  const words = reason.value || own.value.trim();
  const close = (): void => {
    haltDialog.value = false;
  };

  const halt = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (sending.value || !words || fund.value === "") return;
    sending.value = true;
    trouble.value = null;
    announce("halt sent", true);
    try {
      const done = await act("halt/request", { fund: fund.value, request_id: request.current, reason: words }, { tries: 6, onRetry: (error) => (trouble.value = error) });
      const result = done.result as { halt?: { halt_id?: string }; held?: boolean };
      const haltId = result.halt?.halt_id ?? "";
      asked.value = { haltId, sentAt: Date.now(), held: result.held ?? null, seen: "waiting" };
      close();
      go(`/halts?open=${encodeURIComponent(haltId)}`);
      const seen = await seenInForce((found) => found.halts!.some((each) => each.halt_id === haltId), 3);
      asked.value = { ...asked.value, seen: seen ? "seen" : "not seen" };
      announce(seen ? `halt of ${scope} is in force` : "the halt is not confirmed yet", true);
    } catch (error) {
      trouble.value = error as Error;
      announce("the halt was not answered", true);
    } finally {
      sending.value = false;
    }
  };

  const working = orders.data.value?.orders?.filter((row) => !row.facts.is_final && (fund.value === null || row.facts.fund === fund.value)).length;
  return (
    <Dialog label="halt trading" onClose={close}>
      <form onSubmit={(event) => void halt(event)}>
        <header>
          <h1>Halt trading</h1>
          <span class="dim">
            <kbd>Enter</kbd> halts · <kbd>Esc</kbd> leaves everything as it is
          </span>
        </header>
        <fieldset>
          <legend>whom</legend>
          <div class="chips">
            {all && (
              <label>
                <input type="radio" name="fund" checked={fund.value === null} onChange={() => (fund.value = null)} /> every fund
              </label>
            )}
            {allowed.map((each) => (
              <label key={each}>
                <input type="radio" name="fund" checked={fund.value === each} onChange={() => (fund.value = each)} /> {each}
              </label>
            ))}
            {!all && allowed.length === 0 && <span class="critical">Your role may not halt, or the funds are not known.</span>}
          </div>
        </fieldset>
        <fieldset>
          <legend>why, for everybody whom it concerns</legend>
          <div class="chips">
            {REASONS.map((each) => (
              <label key={each}>
                <input type="radio" name="reason" checked={reason.value === each} onChange={() => (reason.value = each)} /> {each}
              </label>
            ))}
            <label>
              <input type="radio" name="reason" checked={reason.value === ""} onChange={() => (reason.value = "")} /> other
            </label>
          </div>
          {reason.value === "" && (
            <label class="field">
              <span class="unseen">the reason in words</span>
              <input type="text" maxLength={500} value={own.value} onInput={(event) => (own.value = event.currentTarget.value)} placeholder="the reason in words" />
            </label>
          )}
        </fieldset>
        <ul class="effects">
          <li>
            <b>Stops</b>
            <span>
              new orders of {scope} are rejected;{" "}
              {working === undefined ? "the working orders (how many is not known right now)" : plural(working, "working order")}{" "}
              {working === 1 ? "is asked back from its broker" : "are asked back from their brokers"}.
            </span>
          </li>
          <li>
            <b>Does not</b> <span>close positions, stop market data, or stop services.</span>
          </li>
          <li>
            <b>Holds</b> <span>until somebody clears it, over restarts.</span>
          </li>
        </ul>
        <Trouble problem={trouble.value} />
        {trouble.value && <Command text={`mts1b halt request ${fund.value ? `--fund ${fund.value}` : "--all"} --reason '${words.replaceAll("'", "")}'`} />}
        <footer>
          {halts.data.value?.halts && halts.data.value.halts.length > 0 && (
            <span class="warning">{count(halts.data.value.halts.length)} in force already</span>
          )}
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class="danger" data-first disabled={!words || fund.value === ""} aria-busy={sending.value}>
            {sending.value ? "Halting…" : `Halt ${scope}`}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
