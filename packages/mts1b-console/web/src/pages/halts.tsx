// Halts in force: who obeyed after how long, who is silent, what still works. Clearing one needs a reason.
import { useSignal } from "@preact/signals";
import { act, newRequest, seenInForce } from "../base/act";
import { count, plural, service } from "../base/format";
import { useKeys } from "../base/keys";
import { may, mayForAny } from "../base/me";
import { address, param, set } from "../base/route";
import { useSource } from "../base/source";
import { span, tick } from "../base/time";
import type { Halt, Halts, Now } from "../shapes";
import { Age, Ago, announce, Command, Data, For, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { Confirm } from "../parts/confirm";
import { asked, haltDialog } from "../parts/halt";

export function HaltsPage() {
  const source = useSource<Halts>("/api/halts", 1000);
  const clearing = useSignal<Halt | null>(null);
  const cleared = useSignal<string | null>(null);
  const halts = source.data.value?.halts ?? null;
  const open = param("open");
  const list = halts ? [...halts].sort((one, other) => other.stored_at.localeCompare(one.stored_at)) : [];
  const first = list.find((halt) => halt.halt_id === open) ?? list[0];
  useKeys([
    { keys: "c", words: "clear the chosen halt", run: () => first && !first.on_host && may("halt.clear", first.fund) && (clearing.value = first) },
    { keys: "j", words: "next halt", group: "Lists", run: () => step(list, first, 1) },
    { keys: "k", words: "halt before", group: "Lists", run: () => step(list, first, -1) },
  ]);
  return (
    <>
      <div class="title">
        <h1>Halts</h1>
        <Age of={source} />
        <button type="button" class="danger right" onClick={() => (haltDialog.value = true)} hidden={!mayForAny("halt.request")}>
          Halt… <span class="unseen">Shift H</span>
        </button>
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      <Unconfirmed halts={halts} />
      {cleared.value && (
        <p class="panel body" role="status">
          {cleared.value}
        </p>
      )}
      {halts && halts.length === 0 && (
        <div class="panel">
          <Nothing title="No halt is in force: trading runs.">
            <kbd>Shift H</kbd>, then <kbd>Enter</kbd> halts every fund. Without a console:
          </Nothing>
          <div class="body">
            <Command text="mts1b halt request --all --reason '…'" />
          </div>
        </div>
      )}
      {list.map((halt) => (
        <InForce key={halt.halt_id} halt={halt} chosen={halt === first} onClear={() => (clearing.value = halt)} />
      ))}
      <p class="dim">
        What was: <a href={address("/events", { q: "subject:mts.v1.operations.halt.>" })}>halts requested and cleared</a> ·{" "}
        <a href="/audit?action=halt.request">in the audit log</a>
      </p>
      {clearing.value && <Clear halt={clearing.value} onClose={() => (clearing.value = null)} onCleared={(words) => (cleared.value = words)} />}
    </>
  );
}

function step(list: Halt[], current: Halt | undefined, by: number): void {
  const next = list[list.indexOf(current!) + by];
  if (next) set({ open: next.halt_id });
}

/** A halt that was asked for here and has not been seen in its stream. */
function Unconfirmed({ halts }: { halts: Halt[] | null }) {
  tick.value;
  const mine = asked.value;
  if (!mine || halts?.some((halt) => halt.halt_id === mine.haltId)) return null;
  if (mine.seen === "seen" || Date.now() - mine.sentAt > 600_000) return null;
  return (
    <div class="trouble" role="alert">
      {mine.seen === "waiting" ? (
        <strong>Sent: waiting to see {mine.haltId} in its stream…</strong>
      ) : (
        <>
          <strong>The halt {mine.haltId} was answered, but is not seen in its stream yet.</strong> Make sure from a terminal:
          <Command text="mts1b halt ls" />
        </>
      )}
    </div>
  );
}

function InForce({ halt, chosen, onClear }: { halt: Halt; chosen: boolean; onClear: () => void }) {
  const scope = halt.fund ?? "every fund";
  const state = useSource<Now>("/api/now", 2000).data.value;
  const orders = state?.orders.orders?.filter((row) => !row.facts.is_final && (halt.fund === null || row.facts.fund === halt.fund));
  const mine = asked.value?.haltId === halt.halt_id ? asked.value : null;
  const withdrawn = halt.obeyed.reduce((sum, each) => sum + each.canceled_orders, 0);
  tick.value;
  return (
    <section class={chosen ? "panel halt-card chosen" : "panel halt-card"} aria-label={`halt of ${scope}`}>
      <header>
        <h2>
          <span class="critical">■</span> {scope}
        </h2>
        <b class="critical">
          in force for <For t={halt.stored_at} />
        </b>
        <a class="mono" href={`/halt/${encodeURIComponent(halt.halt_id)}`}>
          {halt.halt_id}
        </a>
        <span class="right">
          {halt.on_host ? (
            <span class="dim">stopped on its host: it is ended there</span>
          ) : may("halt.clear", halt.fund) ? (
            <button type="button" onClick={onClear}>
              Clear… <kbd>c</kbd>
            </button>
          ) : (
            <span class="dim">your role may not clear it</span>
          )}
        </span>
      </header>
      <dl class="facts body">
        <dt>requested</dt>
        <dd>
          <When t={halt.requested_at} millis /> by <Data>{halt.actor}</Data>, stored <When t={halt.stored_at} millis />
        </dd>
        <dt>why</dt>
        <dd>
          <Data>{halt.reason}</Data>
        </dd>
        {mine && mine.held !== null && (
          <>
            <dt>held</dt>
            <dd>{mine.held ? "yes: nothing was accepted after it was stored" : "no: the order management accepted until it read the halt, or does not run"}</dd>
          </>
        )}
        <dt>obeyed</dt>
        <dd>
          {halt.obeyed.length === 0 && <span class="warning">nobody yet</span>}
          {halt.obeyed.map((each) => (
            <div key={each.service} class="obeyed">
              <span class="good">✓</span> <b>{service(each.service)}</b> after <b>{count(Math.round(each.after_ms))} ms</b>,{" "}
              {plural(each.canceled_orders, "order")} withdrawn
            </div>
          ))}
        </dd>
        <dt>silent</dt>
        <dd>
          {halt.silent.length === 0 ? (
            <span class="good">nobody</span>
          ) : (
            <span class="critical strong">
              ✖ {halt.silent.map(service).join(", ")}: asked <Ago t={halt.stored_at} /> and not said that it obeys
            </span>
          )}
        </dd>
        <dt>still working</dt>
        <dd>
          {orders === undefined ? (
            <span class="warning">not known</span>
          ) : orders.length === 0 ? (
            <>0 of {count(withdrawn)} withdrawn</>
          ) : (
            <a href={`/orders?state=open${halt.fund ? `&fund=${encodeURIComponent(halt.fund)}` : ""}`} class="warning strong">
              {plural(orders.length, "order")}, the oldest for {span(Math.max(...orders.map((row) => row.waiting_seconds ?? 0)))}
            </a>
          )}
        </dd>
      </dl>
    </section>
  );
}

function Clear({ halt, onClose, onCleared }: { halt: Halt; onClose: () => void; onCleared: (words: string) => void }) {
  const scope = halt.fund ?? "all";
  const state = useSource<Now>("/api/now", 2000).data.value;
  const request = useSignal(newRequest());
  const against = [
    ...(state?.alerts.alerts?.length ? [`${plural(state.alerts.alerts.length, "alert")} in force: ${state.alerts.alerts.map((alert) => `${alert.name.replaceAll("_", " ")} ${alert.target}`).join(", ")}`] : []),
    ...(halt.silent.length ? [`${halt.silent.map(service).join(", ")} never said that it obeyed`] : []),
    ...(state?.services.services?.filter((each) => each.reading === false).map((each) => `${service(each.name)} is away`) ?? []),
    ...(state?.orders.orders?.some((row) => !row.facts.is_final) ? ["orders are still working"] : []),
    ...(state === null ? ["what speaks against it is not known: the console has not answered"] : []),
  ];
  const words = halt.fund ? `the fund ${halt.fund}` : "every fund";
  return (
    <Confirm
      title={`Clear the halt of ${words}`}
      action="halt/clear"
      about={{ halt_id: halt.halt_id, fund: halt.fund }}
      button={() => `Resume ${scope}`}
      onClose={onClose}
      onDo={async (preview, reason, typed) => {
        await act("halt/clear", { halt_id: halt.halt_id, fund: halt.fund, request_id: request.value, digest: preview.digest, reason, typed });
        const gone = await seenInForce((found) => !found.halts!.some((each) => each.halt_id === halt.halt_id), 3);
        const said = gone ? `The halt of ${words} is cleared.` : `Clearing ${halt.halt_id} was answered, but it is still seen in force: mts1b halt ls says what is stored.`;
        announce(said, true);
        onCleared(said);
      }}
    >
      <div>
        <b>First:</b> orders of {words} are accepted again with the next signal. What was withdrawn does not come back by itself.
      </div>
      {against.length > 0 && (
        <div class="trouble">
          <strong>What speaks against it:</strong>
          <ul>
            {against.map((each) => (
              <li key={each}>
                <Data>{each}</Data>
              </li>
            ))}
          </ul>
        </div>
      )}
    </Confirm>
  );
}
