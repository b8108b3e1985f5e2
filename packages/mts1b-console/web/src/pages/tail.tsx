// Events as they pass. Counts are exact, whatever is shown; nothing on the page grows with what passes.
import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { count, rate, subject as subjectWords } from "../base/format";
import { useKeys } from "../base/keys";
import { heardAt, live, type Mode, openTail } from "../base/live";
import { matches, me } from "../base/me";
import { address, go, param, set } from "../base/route";
import { span, tick } from "../base/time";
import { announce, Choices, Data, Spark, Trouble } from "../parts/bits";
import { EventBody } from "../parts/event";
import { QueryField } from "../parts/query";
import { KEPT, RowPool } from "../parts/rowpool";
import { Views } from "../parts/views";
import type { EventOpened, Frame, Problem } from "../shapes";

const MODES: { value: Mode; label: string; title: string }[] = [
  { value: "latest", label: "latest", title: "the newest event of each subject" },
  { value: "sample", label: "sample", title: "an even sample, and every event that a strict consumer refuses" },
  { value: "all", label: "all", title: "every event; pauses by itself when 2,000 wait" },
];

export function TailPage() {
  const subject = param("subject", widest());
  const mode = (MODES.some((each) => each.value === param("mode")) ? param("mode") : "sample") as Mode;
  const q = param("q");
  const frame = useSignal<Frame | null>(null);
  const opened = useSignal<EventOpened | null>(null);
  const trouble = useSignal<Problem | null>(null);
  const paused = useSignal(false);
  const back = useSignal(0);
  const rates = useSignal<number[]>([]);
  const box = useRef<HTMLDivElement>(null);
  const pool = useRef<RowPool | null>(null);
  const tail = useRef<ReturnType<typeof openTail> | null>(null);

  const pause = (value: boolean): void => {
    if (paused.peek() === value) return;
    pool.current?.freeze(value);
    paused.value = value;
    tail.current?.pause(value);
    announce(value ? "paused" : "goes on");
    if (!value) pool.current?.scroll(-Infinity);
  };
  const openRow = (row: number): void => {
    if (row < 0) return;
    pool.current?.mark(row);
    pause(true);
    tail.current?.open(row);
  };

  useEffect(() => {
    pool.current = new RowPool(box.current!, openRow, (rows) => {
      back.value = rows;
      if (rows > 0) pause(true);
    });
    return () => pool.current?.close();
  }, []);

  useEffect(() => {
    let lastRate = 0;
    pool.current!.clear(mode === "latest");
    frame.value = null;
    trouble.value = null;
    paused.value = false;
    rates.value = [];
    tail.current = openTail({
      subject,
      mode,
      q,
      paused: false,
      onFrame: (found) => {
        pool.current?.add(found.rows);
        frame.value = { ...found, rows: [] };
        if (found.paused !== paused.peek() && mode === "all") {
          pool.current?.freeze(found.paused);
          paused.value = found.paused;
        }
        if (Date.now() - lastRate > 1000) {
          lastRate = Date.now();
          rates.value = [...rates.peek(), found.per_s].slice(-60);
        }
      },
      onOpened: (found) => {
        opened.value = found.event;
      },
      onTrouble: (found) => {
        trouble.value = found;
      },
      onAgain: () => {
        trouble.value = null;
        pool.current?.clear(mode === "latest");
      },
    });
    return () => tail.current?.close();
  }, [subject, mode, q]);

  const move = (by: number): void => {
    const row = pool.current?.choose(by) ?? -1;
    if (row >= 0) pause(true);
    if (opened.peek()) openRow(row);
    else chosen.current = row;
  };
  const chosen = useRef(-1);
  useKeys([
    { keys: "Space", words: "pause, and go on", run: () => pause(!paused.peek()) },
    { keys: "j", words: "next row", group: "Lists", run: () => move(1) },
    { keys: "k", words: "row before", group: "Lists", run: () => move(-1) },
    { keys: "Enter", words: "open the row", group: "Lists", run: () => openRow(chosen.current) },
    { keys: "Escape", words: "close the event", group: "Lists", run: () => (opened.value = null) },
    { keys: "m", words: "next mode", run: () => set({ mode: MODES[(MODES.findIndex((each) => each.value === mode) + 1) % 3]!.value }) },
    { keys: "e", words: "the same query in what is stored", run: () => go(address("/events", { q: stored(subject, q) })) },
  ]);
  const anything = useComputed(() => Boolean(frame.value?.n));
  const any = useComputed(() => frame.value !== null);
  return (
    <>
      <TailHead subject={subject} q={q} mode={mode} />
      <Trouble problem={trouble.value} />
      {!(trouble.value && !any.value) && <Status frame={frame} rates={rates} mode={mode} />}
      <PauseBar paused={paused} frame={frame} onGoOn={() => pause(false)} />
      <div class={opened.value ? "split open" : "split"}>
        <div class="tail" role="table" aria-label="events as they pass, newest first" aria-busy="true">
          <div class="tailhead" role="row">
            <span class="time" role="columnheader">
              time
            </span>
            <span class="subject" role="columnheader">
              subject
            </span>
            <span class="summary" role="columnheader">
              what it says
            </span>
          </div>
          {!anything.value && !trouble.value && <Quiet frame={frame} subject={subject} q={q} />}
          <div class="tailrows" ref={box} role="rowgroup" tabIndex={0} aria-label="rows" />
        </div>
        {opened.value && (
          <section class="event" aria-label="the event">
            {opened.value.event ? (
              <EventBody opened={opened.value} before={null} onClose={() => (opened.value = null)} />
            ) : (
              <Trouble problem={opened.value.unknown} />
            )}
          </section>
        )}
      </div>
    </>
  );
}

/** All that this person may hear. */
function widest(): string {
  const subjects = me.value?.rights?.subjects;
  return !subjects || subjects.length === 0 || subjects.some((each) => matches(each, "mts.v1.x")) ? "mts.>" : subjects.join(" ");
}

/** The query of what is stored under the same subjects. */
function stored(subject: string, q: string): string {
  if (subject === "mts.>") return q;
  const subjects = subject.split(/\s+/).map((each) => `subject:${each}`);
  return `${subjects.length > 1 ? `(${subjects.join(" or ")})` : subjects[0]} ${q}`.trim();
}

function TailHead({ subject, q, mode }: { subject: string; q: string; mode: Mode }) {
  const name = useSignal(subject);
  const query = useSignal(q);
  useEffect(() => {
    name.value = subject;
    query.value = q;
  }, [subject, q]);
  return (
    <form
      class="bar"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        set({ subject: name.value.trim() === widest() ? null : name.value.trim(), q: query.value.trim() }, { step: true });
      }}
    >
      <h1>Tail</h1>
      <label class="wide">
        <span class="unseen">subject</span>
        <input title="one subject or several, with a space between: * is one token, > the rest" type="text" class="mono" value={name.value} spellcheck={false} onInput={(event) => (name.value = event.currentTarget.value)} />
      </label>
      <QueryField id="words" text={query} placeholder="fund:alpha  -subject:mts.v1.marketdata.>  price>100" />
      <button type="submit">Tail</button>
      <Choices label="which rows" value={mode} choices={MODES} onChoose={(value) => set({ mode: value })} />
      <Views page="/tail" />
      <a href={address("/events", { q: stored(subject, q) })}>stored ones</a>
    </form>
  );
}

// What changes ten times a second reads the frame itself, so that nothing else of the page is made anew.
function PauseBar({ paused, frame, onGoOn }: { paused: Signal<boolean>; frame: Signal<Frame | null>; onGoOn: () => void }) {
  if (!paused.value)
    return (
      <div class="pausebar off" role="status">
        <span class="dim">
          <kbd>Space</kbd> or scrolling pauses; nothing is lost meanwhile but what falls off the newest {count(KEPT)}
        </span>
      </div>
    );
  const now = frame.value;
  return (
    <div class="pausebar" role="status">
      <strong>PAUSED</strong> · {count(now?.behind ?? 0)} behind{now && now.fell > 0 && ` · ${count(now.fell)} fell off the newest ${count(KEPT)}`} ·{" "}
      <button type="button" class="plain" onClick={onGoOn}>
        <kbd>Space</kbd> goes on
      </button>
    </div>
  );
}

function Status({ frame: held, rates: points, mode }: { frame: Signal<Frame | null>; rates: Signal<number[]>; mode: Mode }) {
  tick.value;
  const [frame, rates] = [held.value, points.value];
  const silent = (Date.now() - heardAt.value) / 1000;
  if (!frame) return <p class="tailstatus dim">{live.value === "down" ? "The live connection is away; it comes back by itself." : "Waiting for the first frame…"}</p>;
  return (
    <div class="tailstatus">
      <b>{rate(frame.per_s)}/s</b>
      <span>
        {count(frame.n)}
        {frame.heard === frame.n ? " events" : ` of ${count(frame.heard)} events`}
      </span>
      <span>{mode === "latest" ? "newest of each subject" : frame.one_in > 1 ? `sample: 1 in ${count(Math.round(frame.one_in))}` : "all shown"}</span>
      <span class={frame.refused ? "critical strong" : "dim"}>{count(frame.refused)} refused</span>
      <span class={frame.dropped ? "critical strong" : "dim"} title="came faster than the console could look at">
        {count(frame.dropped)} dropped here
      </span>
      {(live.value !== "up" || silent > 3) && <b class="warning">▲ nothing heard for {span(silent)}</b>}
      <Spark points={rates} words={`events a second over the last minute, now ${rate(frame.per_s)}`} />
      <span class="by">
        {frame.by.slice(0, 5).map(([name, perSecond]) => (
          <span key={name}>
            <Data>{subjectWords(name)}</Data> {rate(perSecond)}/s
          </span>
        ))}
      </span>
    </div>
  );
}

function Quiet({ frame: held, subject, q }: { frame: Signal<Frame | null>; subject: string; q: string }) {
  const frame = held.value;
  if (live.value === "down") return <p class="nothing">The live connection is away. It comes back by itself, and opens this tail again.</p>;
  return (
    <p class="nothing">
      <strong>{frame ? "Nothing has come yet." : "Opening…"}</strong>{" "}
      {frame && (
        <>
          {frame.heard > 0
            ? `${count(frame.heard)} events came on the subject, none that the query means.`
            : "Nobody publishes here right now, or your role may not hear it."}{" "}
          <a href={address("/events", { q: stored(subject, q) })}>What is stored</a>
        </>
      )}
    </p>
  );
}
