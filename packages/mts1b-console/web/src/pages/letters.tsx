// Dead letters by cause: what they are, whether they would pass now, and having them handled again or thrown away.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { newRequest } from "../base/act";
import { post } from "../base/api";
import { count, plural, service, shortened, subject } from "../base/format";
import { useKeys } from "../base/keys";
import { may } from "../base/me";
import { address, param, set } from "../base/route";
import { fitting, restore } from "../base/runs";
import { useSource } from "../base/source";
import type { DeadLetters, Discarded, LetterGroup, LetterOpened, LetterRow, Note, Verdict } from "../shapes";
import { Age, Choices, Copy, Data, Nothing, Spark, Trouble, Troubles, Waiting, When } from "../parts/bits";
import { Refused } from "../parts/event";
import { Doing, type DoingKind, Progress, RunsTable } from "../parts/letters";
import { NoteCell, Noted, Noting } from "../parts/note";
import { type Column, Table } from "../parts/table";
import { Payload, Raw } from "../parts/tree";

export function LettersPage() {
  const key = param("group");
  const source = useSource<DeadLetters>(address("/api/deadletters", { group: key }), 3000);
  const found = source.data.value;
  const doing = useSignal<{ kind: DoingKind; ids: string[]; group: LetterGroup } | null>(null);
  const groups = found?.groups ?? null;
  const letter = param("letter");
  const group = groups?.find((each) => each.key === key) ?? (key ? undefined : (groups?.find((each) => each.ids.includes(letter)) ?? groups?.[0]));
  const total = groups?.reduce((sum, each) => sum + each.count, 0) ?? null;
  const noting = useSignal(false);
  const start = (kind: DoingKind) => (): void => {
    if (group && may(`deadletters.${kind}`)) doing.value = { kind, ids: group.ids, group };
  };
  useKeys([
    { keys: "r", words: "requeue the group…", run: start("requeue") },
    { keys: "d", words: "discard the group…", run: start("discard") },
    {
      keys: "n",
      words: "write a note on the group or the letter…",
      run: () => {
        noting.value = group !== undefined && may("deadletters.note");
      },
    },
    { keys: "e", words: "export", run: () => document.getElementById("export-letters")?.click() },
  ]);
  return (
    <>
      <div class="title">
        <h1>Dead letters</h1>
        <span>
          {total === null ? "" : `${plural(total, "letter")} in ${plural(groups!.length, "group")}`}
          {groups && !found!.complete && <span class="warning"> · there are more than were read</span>}
          {found?.unreadable ? <span class="warning"> · {plural(found.unreadable, "message")} in the stream that are no dead letters</span> : null}
        </span>
        <Age of={source} />
        <span class="right">
          <a id="export-letters" href="/api/export?of=deadletters&format=jsonl" download>
            export JSON lines
          </a>
        </span>
      </div>
      <Troubles of={source} />
      <Trouble problem={found?.notes_unknown} />
      <Waiting of={source} />
      <Progress onChange={() => void source.again()} />
      {groups && groups.length === 0 && (
        <div class="panel">
          <Nothing title="No dead letter: no consumer gave up on an event.">What was requeued or discarded is in the audit log.</Nothing>
        </div>
      )}
      {groups && groups.length > 0 && <Groups groups={groups} chosen={group?.key ?? ""} />}
      {key && groups && !group && (
        <div class="panel">
          <Nothing title="This group is empty now.">Its letters were requeued or discarded, or are of another cause since.</Nothing>
        </div>
      )}
      {group && <Group key={group.key} group={group} letters={found?.letters?.filter((each) => group.ids.includes(each.id)) ?? []} onDo={(kind, ids) => (doing.value = { kind, ids, group })} onNote={() => (noting.value = true)} />}
      <RunsTable />
      <DiscardedLetters />
      {doing.value && <Doing {...doing.value} onClose={() => (doing.value = null)} />}
      {noting.value && group && (
        <Noting
          group={group}
          letter={found?.letters?.find((each) => each.id === (letter || group.example))}
          onClose={() => (noting.value = false)}
          onDone={() => void source.again()}
        />
      )}
    </>
  );
}

/** What was discarded and is kept aside; asked when somebody wants to see it. */
function DiscardedLetters() {
  const open = param("discarded") === "yes";
  return (
    <details class="panel" open={open} onToggle={(event) => set({ discarded: event.currentTarget.open ? "yes" : null })}>
      <summary class="body">Discarded within seven days</summary>
      {open && <DiscardedTable />}
    </details>
  );
}

function DiscardedTable() {
  const source = useSource<Discarded>("/api/deadletters/discarded", 5000);
  const rows = source.data.value?.letters ?? null;
  const mayRestore = may("deadletters.restore");
  const busy = useSignal(false);
  const trouble = useSignal<Error | null>(null);
  const back = (ids: string[]): void => {
    busy.value = true;
    trouble.value = null;
    restore({ ids: fitting(ids) }, newRequest())
      .then(() => source.again(), (error: Error) => (trouble.value = error))
      .finally(() => (busy.value = false));
  };
  const columns: Column<LetterRow>[] = [
    { id: "consumer", head: "given up by", cell: (row) => row.consumer, sort: (row) => row.consumer },
    { id: "event", head: "event", cell: (row) => <a href={`/event/${row.stream}/${row.sequence}`}>{`${row.stream}:${row.sequence}`}</a> },
    { id: "error", head: "error", cell: (row) => <Data>{row.error.split("\n")[0]!}</Data>, class: "rest" },
    { id: "failed", head: "failed", cell: (row) => <When t={row.failed_at} />, sort: (row) => row.failed_at },
    {
      id: "restore",
      head: "",
      title: "restore",
      cell: (row) =>
        mayRestore && (
          <button type="button" class="plain" disabled={busy.value} onClick={() => back([row.id])}>
            restore
          </button>
        ),
    },
  ];
  return (
    <>
      <Troubles of={source} />
      <Waiting of={source} />
      <Trouble problem={trouble.value} />
      {rows && rows.length === 0 && <Nothing title="Nothing that could be restored." />}
      {rows && rows.length > 0 && <Table label="discarded letters" sortParam="gone" columns={columns} rows={rows} id={(row) => `${row.id} ${row.number}`} />}
      {rows && rows.length > 1 && mayRestore && (
        <div class="body">
          <button type="button" disabled={busy.value} onClick={() => back(rows.map((row) => row.id))}>
            Restore all {count(rows.length)}
          </button>
        </div>
      )}
    </>
  );
}

function Groups({ groups, chosen }: { groups: LetterGroup[]; chosen: string }) {
  const columns: Column<LetterGroup>[] = [
    { id: "count", head: "letters", num: true, cell: (row) => <b>{count(row.count)}</b>, sort: (row) => row.count },
    { id: "trend", head: "over time", cell: (row) => <Spark points={row.trend} words={`from the first to the last of all: ${row.trend.join(", ")}`} /> },
    { id: "consumer", head: "given up by", cell: (row) => row.consumer, sort: (row) => row.consumer },
    { id: "reason", head: "reason", cell: (row) => row.reason.replaceAll("_", " "), sort: (row) => row.reason },
    { id: "error", head: "error", cell: (row) => <Data>{row.error.split("\n")[0]!}</Data>, sort: (row) => row.error, class: "rest" },
    // nobody has written anything, as mostly: then the error has the room
    ...(groups.some((each) => each.note) ? [{ id: "note", head: "note", cell: (row: LetterGroup) => <NoteCell note={row.note} />, class: "rest" }] : []),
    { id: "first", head: "first", cell: (row) => <When t={row.first} />, sort: (row) => row.first },
    { id: "last", head: "last", cell: (row) => <When t={row.last} />, sort: (row) => row.last },
  ];
  return (
    <div class="panel">
      <Table main label="groups of dead letters" columns={columns} rows={groups} id={(row) => row.key} chosen={chosen} onOpen={(row) => set({ group: row.key, letter: null })} onMove={(row) => set({ group: row.key, letter: null })} />
    </div>
  );
}

function Group({ group, letters, onDo, onNote }: { group: LetterGroup; letters: LetterRow[]; onDo: (kind: DoingKind, ids: string[]) => void; onNote: () => void }) {
  const open = param("letter") || group.example;
  const one = letters.find((each) => each.id === open);
  const columns: Column<LetterRow>[] = [
    { id: "failed", head: "failed", cell: (row) => <When t={row.failed_at} millis /> },
    { id: "event", head: "event", cell: (row) => <a href={`/event/${row.stream}/${row.sequence}`}>{`${row.stream}:${row.sequence}`}</a> },
    { id: "about", head: "order", cell: (row) => <About letter={row} />, class: "rest" },
    { id: "requeues", head: "requeued", num: true, cell: (row) => (row.requeues ? <b class="warning">{count(row.requeues)}</b> : "0") },
    ...(letters.some((each) => each.note) ? [{ id: "note", head: "note", cell: (row: LetterRow) => <NoteCell note={row.note} />, class: "rest" }] : []),
    // of one subject, as nearly always, the letter beside it says which
    ...(group.subjects.length > 1 ? [{ id: "subject", head: "subject", cell: (row: LetterRow) => <Data>{subject(row.subject)}</Data>, class: "rest" }] : []),
  ];
  return (
    <section class="panel" aria-label={`group: ${group.consumer}, ${group.reason}`}>
      <header>
        <h2>
          {count(group.count)} × {group.consumer} · {group.reason.replaceAll("_", " ")}
        </h2>
        <Verdicts ids={group.ids} />
        <span class="right bar">
          {may("deadletters.requeue") && (
            <>
              <button type="button" onClick={() => onDo("requeue", [open])} disabled={!one}>
                Requeue this one…
              </button>
              <button type="button" class="main" onClick={() => onDo("requeue", group.ids)}>
                Requeue {count(group.count)}… <kbd>r</kbd>
              </button>
            </>
          )}
          {may("deadletters.discard") && (
            <button type="button" onClick={() => onDo("discard", group.ids)}>
              Discard {count(group.count)}… <kbd>d</kbd>
            </button>
          )}
          {may("deadletters.note") && (
            <button type="button" onClick={onNote}>
              Note… <kbd>n</kbd>
            </button>
          )}
          {!may("deadletters.requeue") && !may("deadletters.discard") && <span class="dim">your role may look, and do nothing about them</span>}
        </span>
      </header>
      <div class="body">
        <Noted note={group.note} />
        <div class="split open letters">
          <Table label="letters of the group" sortParam="letters" columns={columns} rows={letters} id={(row) => row.id} chosen={open} onOpen={(row) => set({ letter: row.id })} />
          <Letter key={open} id={open} note={one?.note} />
        </div>
      </div>
    </section>
  );
}

function About({ letter }: { letter: LetterRow }) {
  const order = letter.keys["order_id"];
  if (order) return <a href={`/order/${encodeURIComponent(order)}`} title={order}>{shortened(order, 16)}</a>;
  const [first] = Object.entries(letter.keys);
  return first ? <Data>{`${first[0].replace(/_id$/, "")} ${first[1]}`}</Data> : <span class="dim">–</span>;
}

/** Would they pass now? Asked when somebody looks, judged with the models that the console has. */
function Verdicts({ ids }: { ids: string[] }) {
  const verdict = useSignal<Verdict | null>(null);
  const trouble = useSignal<Error | null>(null);
  const some = ids.slice(0, 100);
  const key = some.join(" ");
  useEffect(() => {
    let mine = true;
    verdict.value = null;
    post<Verdict>("/api/deadletters/verdict", { ids: some }).then(
      (found) => mine && (verdict.value = found),
      (error: Error) => mine && (trouble.value = error),
    );
    return () => {
      mine = false;
    };
  }, [key]);
  const found = verdict.value;
  if (trouble.value) return <span class="dim">whether they would pass now is not known: {trouble.value.message}</span>;
  if (!found) return <span class="dim">would they pass now? looking…</span>;
  const kind = found.passes === null ? "dim" : found.passes === found.of ? "good" : found.passes === 0 ? "critical" : "warning";
  return (
    <span>
      would pass now, by the models of this console: <b class={kind}>{count(found.passes)}</b> of {count(found.of)}
      {ids.length > some.length && ` (the first ${some.length})`}
      {found.refused && <span class="dim"> · {found.refused.why.split("\n")[0]}</span>}
    </span>
  );
}

function Letter({ id, note }: { id: string; note: Note | null | undefined }) {
  const source = useSource<LetterOpened>(`/api/deadletters/${encodeURIComponent(id)}`, 0);
  const found = source.data.value;
  const tab = useSignal<"error" | "payload" | "headers">("error");
  if (!found?.letter)
    return (
      <div class="event">
        <div class="content">
          <Troubles of={source} />
          <Waiting of={source} />
        </div>
      </div>
    );
  return (
    <section class="event" aria-label="the letter">
      <header>
        <h2>
          <Data>{subject(found.letter.subject)}</Data>
        </h2>
        <Copy text={`mts1b deadletters show ${found.letter.id}`} label="copy command" />
        <span class="meta">
          <a class="mono" href={`/event/${found.letter.stream}/${found.letter.sequence}`}>
            {found.letter.stream}:{found.letter.sequence}
          </a>
          <span>from {service(found.event.by)}</span>
          <span>
            given up after {plural(found.letter.deliveries, "delivery", "deliveries")}, <When t={found.letter.failed_at} millis />
          </span>
          <span>requeued before: {count(found.letter.requeues)}</span>
        </span>
      </header>
      <Noted note={note === undefined ? found.letter.note : note} />
      {found.refused ? <Refused refused={found.refused} /> : <p class="nothing good">✓ The models of this console take the message: what failed was the handler.</p>}
      <div class="tabs">
        <Choices
          label="parts of the letter"
          value={tab.value}
          choices={[
            { value: "error", label: found.traceback ? "traceback" : "error" },
            { value: "payload", label: "payload" },
            { value: "headers", label: "headers" },
          ]}
          onChoose={(value) => (tab.value = value)}
        />
      </div>
      <div class="content" tabIndex={0} role="region" aria-label={tab.value}>
        {tab.value === "error" && <Raw text={found.traceback ?? found.letter.error} />}
        {tab.value === "payload" && <Payload text={found.payload_text} words={{}} truncated={found.truncated} size={found.event.size} />}
        {tab.value === "headers" && (
          <dl class="facts mono">
            {Object.entries(found.headers).map(([name, value]) => (
              <>
                <dt>{name}</dt>
                <dd>
                  <Data>{value}</Data>
                </dd>
              </>
            ))}
          </dl>
        )}
      </div>
    </section>
  );
}

