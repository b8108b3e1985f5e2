// Requeue and discard: the dialog, and the runs of the last day, which the responders carry through.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { act, newRequest } from "../base/act";
import { post } from "../base/api";
import { count, plural } from "../base/format";
import { may } from "../base/me";
import { actionOf, dismiss, fitting, named, restore, say, seen, useRuns } from "../base/runs";
import { now, parse, span } from "../base/time";
import type { LetterGroup, Run, Verdict } from "../shapes";
import { Choices, Data, Trouble, Troubles, When } from "./bits";
import { Confirm } from "./confirm";
import { type Column, Table } from "./table";

export type DoingKind = "requeue" | "discard";

export function Doing({ kind, ids, group, onClose }: { kind: DoingKind; ids: string[]; group: LetterGroup; onClose: () => void }) {
  const frozen = useMemo(() => fitting(ids), []);
  const requestId = useMemo(newRequest, []);
  const first = useSignal<"1" | "10" | "0">(ids.length > 1 ? "1" : "0");
  const to = useSignal<"consumer" | "subject">("consumer");
  const many = frozen.length;
  const verdict = useSignal<Verdict | null>(null);
  useEffect(() => {
    if (kind === "requeue") post<Verdict>("/api/deadletters/verdict", { ids: frozen.slice(0, 100) }).then((found) => (verdict.value = found), () => undefined);
  }, []);
  const passes = verdict.value?.passes ?? null;
  const about = kind === "requeue" ? { ids: frozen, to: to.value, run: true, first: many > 1 ? Number(first.value) : 0 } : { ids: frozen, run: true };
  return (
    <Confirm
      title={`${kind === "requeue" ? "Requeue" : "Discard"} ${plural(many, "letter")} of ${group.consumer}`}
      action={`deadletters/${kind}`}
      about={about}
      typed={`${kind} ${many}`}
      button={() => (kind === "discard" ? `Discard ${count(many)}` : first.value === "0" || many === 1 ? `Requeue ${count(many)}` : `Requeue ${first.value} of ${count(many)}`)}
      onClose={onClose}
      onDo={async (shown, reason, typed) => {
        await act(`deadletters/${kind}`, { ...about, request_id: requestId, digest: shown.digest, reason, typed });
      }}
    >
      <p>
        <b>Frozen now:</b> {plural(many, "letter")}. What comes later is not part of it.
        {passes !== null && passes < verdict.value!.of! && (
          <b class="critical">
            {" "}
            {passes === 0 ? "None of them would pass now: this will fail." : `Only ${count(passes)} of ${count(verdict.value!.of)} would pass now.`}
          </b>
        )}
        {passes !== null && passes === verdict.value!.of && <span class="good"> All of them would pass now, as far as models tell.</span>}
        {many < ids.length && ` One run takes so many: these are the oldest of ${count(ids.length)}.`}
      </p>
      {kind === "requeue" ? (
        <>
          <div class="bar">
            <span>for</span>
            <Choices
              label="for whom"
              value={to.value}
              choices={[
                { value: "consumer", label: `${group.consumer} only`, title: "nobody else sees them twice" },
                { value: "subject", label: "every reader of the subject", title: "published anew: all readers see them again" },
              ]}
              onChoose={(value) => (to.value = value)}
            />
          </div>
          {many > 1 && (
            <div class="bar">
              <span>first</span>
              <Choices
                label="how many first"
                value={first.value}
                choices={[
                  { value: "1", label: "1, then ask" },
                  ...(many > 10 ? [{ value: "10" as const, label: "10, then ask" }] : []),
                  { value: "0", label: `all ${count(many)}` },
                ]}
                onChoose={(value) => (first.value = value)}
              />
              <span class="dim">then about ten a second</span>
            </div>
          )}
        </>
      ) : (
        <p>
          <b>Kept aside for seven days:</b> until then they can be restored, at once with Undo or by <code>mts1b deadletters restore</code>. The events
          themselves stay in their streams.
        </p>
      )}
    </Confirm>
  );
}

const LATELY = 10 * 60_000;

/** What runs and what waits for a word, whoever began it; and what has ended lately, until somebody has seen it. */
export function Progress({ onChange }: { onChange: () => void }) {
  const source = useRuns();
  const runs = source.data.value?.runs ?? [];
  const shown = runs.filter((run) => run.state !== "finished" || (!seen.value.has(run.run_id) && now() - parse(run.changed) < LATELY));
  const key = runs.map((run) => `${run.run_id} ${run.at} ${run.state}`).join();
  useEffect(() => {
    if (key) onChange();
  }, [key]);
  const denied = source.data.value?.unknown?.code === "access-denied";
  return (
    <>
      {!denied && <Troubles of={source} />}
      {shown.map((run) => (
        <OneRun key={run.run_id} run={run} onSaid={() => void source.again()} />
      ))}
    </>
  );
}

function OneRun({ run, onSaid }: { run: Run; onSaid: () => void }) {
  const trouble = useSignal<Error | null>(null);
  const busy = useSignal(false);
  const undo = useMemo(newRequest, [run.run_id]);
  const doing = (what: () => Promise<unknown>) => (): void => {
    if (busy.peek()) return;
    busy.value = true;
    trouble.value = null;
    what()
      .then(onSaid, (error: Error) => (trouble.value = error))
      .finally(() => (busy.value = false));
  };
  const may_ = may(actionOf(run).replace("/", "."));
  const left = run.of - run.at;
  const back = run.back?.count ?? 0;
  const still = run.state === "running" && now() - parse(run.changed) > 4000;
  return (
    <div class="panel body run" role="status" aria-label="progress">
      <b>{named(run)}</b>
      <progress max={run.of} value={run.at} aria-label="letters dealt with" />
      <span>
        {count(run.done)} of {count(run.of)} done{run.failed > 0 && <b class="critical">, {count(run.failed)} refused</b>}
      </span>
      <State run={run} still={still} />
      {run.verb === "requeue" && run.state !== "running" && run.done > 0 && run.back && (
        <span class={back ? "critical strong" : ""}>
          {back ? `${plural(back, "letter")} came back: ${run.back.error.split("\n")[0]}` : "none came back so far"}
        </span>
      )}
      {may_ && run.state === "waiting" && (
        <button type="button" class={back ? "" : "main"} disabled={busy.value} onClick={doing(() => say(run, "go-on"))}>
          {run.verb === "requeue" ? `Requeue the other ${count(left)}` : `Go on with ${count(left)}`}
        </button>
      )}
      {may_ && run.state === "stopped" && (
        <button type="button" class="main" disabled={busy.value} onClick={doing(() => say(run, "go-on"))}>
          Go on with {count(left)}
        </button>
      )}
      {may_ && run.state === "running" && (
        <button type="button" disabled={busy.value} onClick={doing(() => say(run, "stop"))}>
          Stop
        </button>
      )}
      {may_ && (run.state === "waiting" || run.state === "stopped") && (
        <button type="button" disabled={busy.value} onClick={doing(() => say(run, "end"))}>
          Leave the other {count(left)}
        </button>
      )}
      {run.state === "finished" && run.verb === "discard" && run.done > 0 && may("deadletters.restore") && (
        <button type="button" class="main" disabled={busy.value} onClick={doing(() => restore({ undo: run.run_id, fund: run.fund }, undo).then(() => dismiss(run)))}>
          Undo: restore {count(run.done)}
        </button>
      )}
      {run.state === "finished" && (
        <button type="button" onClick={() => dismiss(run)}>
          Close
        </button>
      )}
      <span class="dim right">
        begun by {run.by} <When t={run.begun} />
        {run.reason && (
          <>
            : <Data>{run.reason}</Data>
          </>
        )}
      </span>
      <Trouble problem={trouble.value} />
      {run.refused.map((each) => (
        <p key={each.id} class="critical">
          <span class="mono">{each.id}</span>: <Data>{each.why}</Data>
        </p>
      ))}
    </div>
  );
}

function State({ run, still }: { run: Run; still: boolean }) {
  const left = run.of - run.at;
  if (run.state === "finished") return left > 0 ? <span class="warning">ended by {run.ordered_by ?? "somebody"}, {count(left)} left</span> : <span class="good">finished</span>;
  if (run.state === "waiting") return <span class="warning">waits for a word to go on</span>;
  if (run.state === "stopped") return <span class="warning">stopped{run.trouble ? `: ${run.trouble}` : run.ordered_by ? ` by ${run.ordered_by}` : ""}</span>;
  if (still) return <span class="warning">no responder has written for {span((now() - parse(run.changed)) / 1000)}: another takes it up as soon as one runs</span>;
  return <span class="dim">about ten a second</span>;
}

/** The runs of the last day. */
export function RunsTable() {
  const source = useRuns();
  const rows = source.data.value?.runs ?? [];
  if (rows.length === 0) return null;
  const columns: Column<Run>[] = [
    { id: "what", head: "run", cell: (run) => <b>{named(run)}</b> },
    { id: "by", head: "by", cell: (run) => run.by },
    { id: "begun", head: "begun", cell: (run) => <When t={run.begun} /> },
    { id: "state", head: "state", cell: (run) => <State run={run} still={false} /> },
    { id: "done", head: "done", num: true, cell: (run) => `${count(run.done)} of ${count(run.of)}` },
    { id: "refused", head: "refused", num: true, cell: (run) => <span class={run.failed ? "critical strong" : ""}>{count(run.failed)}</span> },
    { id: "back", head: "came back", num: true, cell: (run) => (run.verb !== "requeue" || !run.back ? "–" : <span class={run.back.count ? "critical strong" : ""}>{count(run.back.count)}</span>) },
    { id: "reason", head: "why", cell: (run) => <Data>{run.reason}</Data>, class: "rest" },
  ];
  return (
    <details class="panel">
      <summary class="body">
        {plural(rows.length, "run")} of the last day
      </summary>
      <Table label="runs of the last day" sortParam="runs" columns={columns} rows={rows} id={(run) => run.run_id} />
    </details>
  );
}
