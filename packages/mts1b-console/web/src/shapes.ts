// Rendered from mts1b_console.shapes by `mts1b console check --types`. Do not edit.

/** A point in time in UTC, such as 2021-01-08T09:30:00.123456Z. */
export type Instant = string;

/** Somebody looks after an alert. */
export interface Acknowledgement {
  actor: string;
  note: string;
  at: Instant;
}

/** What was done. The effect is to be seen in what is stored, not in this answer. */
export interface ActDone {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  request_id: string;
  by: string;
  state: string;
  /** Whether it had been done before under the same request id. */
  again: boolean;
  /**
   * ``{"halt": {…}, "held": true}``; ``{"halt_id", "cleared"}``; ``{"done": [{"id","detail"}], "refused":
   * [{"id","why"}]}``; of a run ``{"run_id"}``.
   */
  result: Record<string, unknown>;
}

/** What an action would do. */
export interface ActPreview {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  words: string;
  facts: Record<string, unknown>;
  digest: string;
  adds_risk: boolean;
  /** What has to be typed to confirm, ``requeue 37``; empty when nothing has. */
  typed: string;
  /** The same from a terminal, to copy. */
  command: string;
}

/**
 * ``POST /api/act/{noun}/{verb}``.
 *
 * Actions: ``halt/request``, ``halt/clear``, ``deadletters/requeue``, ``deadletters/discard``,
 * ``deadletters/restore``, ``deadletters/note``, ``alerts/acknowledge``.
 * With ``preview`` nothing is done. Otherwise ``request_id`` is needed (16 letters, made when the dialog opens;
 * the same one twice is one action); what adds risk needs ``digest``, ``reason`` (10 letters) and ``typed`` as well.
 */
export interface ActRequest {
  preview?: boolean;
  /** For which fund; null for all of them. */
  fund?: string | null;
  request_id?: string | null;
  digest?: string | null;
  reason?: string | null;
  typed?: string | null;
  /** For ``halt/clear``. */
  halt_id?: string | null;
  /** For ``deadletters/…``: at most 100 letters, or 1,000 of a run. */
  ids?: Array<string> | null;
  /** For ``deadletters/…``: the responders carry it through; ``GET /api/deadletters/runs`` says how far it is. */
  run?: boolean;
  /** Of a run: so many letters are done first, then it waits for a word; 0: it goes through. */
  first?: number;
  /** With ``order``: which run; nothing else is needed. */
  run_id?: string | null;
  order?: "go-on" | "stop" | "end" | null;
  /** For ``deadletters/restore``, in place of ``ids``: the run that discarded them. */
  undo?: string | null;
  /** For ``deadletters/requeue``: ``consumer`` (the durable that gave up) or ``subject`` (everybody). */
  to?: string | null;
  force?: boolean | null;
  /** For ``alerts/acknowledge``. */
  alert_id?: string | null;
  /**
   * For ``alerts/acknowledge``: what is known or being done; may be left out. For ``deadletters/note``: what is
   * known; left out, it takes the note away.
   */
  note?: string | null;
  /** For ``deadletters/note``: the id of a letter, or the key of a group. */
  about?: string | null;
}

/** Something beyond its threshold. */
export interface Alert {
  alert_id: string;
  /** ``slow_consumer``, ``dead_letters``, ``discard_risk``, ``stream_missing``, ``certificate_expiry`` … */
  name: string;
  target: string;
  severity: "warning" | "critical";
  value: number;
  threshold: number;
  unit: string;
  summary: string;
  raised_at: Instant;
  cleared_at: Instant | null;
  /** Who looks after it; null when nobody does, or it was raised with another severity since. */
  acknowledged: Acknowledgement | null;
}

/** ``GET /api/alerts``. */
export interface Alerts {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  /** In force, critical ones first. */
  alerts: Array<Alert> | null;
  /** Cleared within the last 30 days, newest first; null when this person reads no history of them. */
  past: Array<Alert> | null;
  /** Whether the monitor has said anything within the last two minutes; false: nobody watches, no alert is no news. */
  watched: boolean | null;
}

/** Something that was read. When ``unknown`` is set it could not be: every figure beside it is null, never 0. */
export interface Answer {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
}

/** ``GET /api/audit?order_id=…``: records of the logs that lie where looks are answered. */
export interface AuditFound {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  records: Array<Record<string, unknown>> | null;
  complete: boolean;
}

/** Requeued messages that failed again. */
export interface CameBack {
  count: number;
  /** Of the newest. */
  error: string;
}

/** A certificate, and how long it is good. */
export interface Certificate {
  of: string;
  /** The host that has it. */
  where: string | null;
  ends: Instant;
  /** Left; below 0 when it has ended. */
  days: number;
}

/** End a tail. */
export interface Close {
  op: "close";
  id: number;
}

/** A consumer and its lag. */
export interface Consumer {
  stream: string;
  consumer: string;
  service: string | null;
  declared: boolean;
  /** Age of the oldest event that it has not settled; 0 when none waits. */
  seconds: number;
  messages: number;
  ack_pending: number;
  redelivered: number;
  /** Pulls that wait: somebody is there to read. */
  pulls: number;
  /** Who is there; ``at work``: no pull waits, something is under way. */
  reading: "yes" | "at work" | "nobody" | "paused";
  reached: number;
  floor: number;
  /** The oldest event that waits, ``OMS_ORDERS:12044``. */
  oldest: string | null;
  oldest_subject: string | null;
  filters: Array<string>;
  durable: boolean;
  paused: boolean;
  last_active: Instant | null;
  /** Its lag in seconds over the last hour, oldest first, a point every 5 s while somebody looks. */
  trend: Array<number>;
  risk: DiscardRisk | null;
}

/** ``GET /api/consumers``. */
export interface Consumers {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  consumers: Array<Consumer> | null;
  /** Declared durables that are not on the server, ``stream/durable``. */
  missing: Array<string> | null;
}

/** ``GET /api/deadletters``: groups, the largest first, and the letters, newest first (at most 1,000). */
export interface DeadLetters {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  groups: Array<LetterGroup> | null;
  letters: Array<LetterRow> | null;
  /** Messages in the stream that are no dead letters. */
  unreadable: number | null;
  /** Why notes cannot be read; the letters can. */
  notes_unknown: Problem | null;
  complete: boolean;
}

/** How near a limit of a stream is to discarding what a consumer has not read. */
export interface DiscardRisk {
  consumer: string;
  /** Share of the limit that is used up; 1: discarded. */
  risk: number;
  limit: string;
  /** At today's rate; null when nothing goes on. */
  seconds_left: number | null;
}

/** ``GET /api/deadletters/discarded``: what was discarded within the last week and not restored, newest first. */
export interface Discarded {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  letters: Array<LetterRow> | null;
  complete: boolean;
}

/** A difference between a declared stream and the one on the server. */
export interface Drift {
  field: string;
  declared: string;
  actual: string;
}

/** The session is over: the browser signs in anew. Nothing comes after it. */
export interface Ended {
  type: "ended";
  problem: Problem;
}

/** Which bus this is, for the header of every page. */
export interface Environment {
  name: string;
  /** A CSS color name or ``#rrggbb``. */
  color: string;
}

/** One event, whole. */
export interface EventOpened {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  event: EventRow;
  /** The payload as it was published, at most 256 kB of it. The browser parses it, so that no digit is lost here. */
  payload_text: string;
  /** Whether the payload is longer than that. */
  truncated: boolean;
  headers: Record<string, string>;
  /** The JSON Schema of the payload that its subject carries. */
  model: Record<string, unknown> | null;
  /** Which durables have handled it; null when this person may not know, or it was never stored. */
  readers: Array<ReaderState> | null;
}

/** An event in a list. */
export interface EventRow {
  /** ``OMS_ORDERS:12044``; for one that was heard as it passed ``live:<row>``. */
  id: string;
  /** When its stream stored it; for a live one, when it was heard. */
  t: Instant;
  stream: string | null;
  seq: number | null;
  subject: string;
  /** The registered subject; null when nobody registered it. */
  pattern: string | null;
  /** The repo that says it published it. */
  by: string;
  actor: string;
  schema_id: string;
  /** One line; of a refused event, why it is refused. */
  summary: string;
  /** What it is about: ``order_id``, ``signal_id``, ``halt_id`` … */
  keys: Record<string, string>;
  fund: string | null;
  trace: string | null;
  refused: Refusal | null;
  /** Bytes of the payload. */
  size: number;
}

/** ``GET /api/events``: newest first. */
export interface EventsFound {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  /** The query as it was understood. */
  query: string;
  problems: Array<QueryProblem>;
  events: Array<EventRow> | null;
  searched: Searched | null;
  /** Give it as ``cursor`` to search on from where this search stopped; null when everything was searched. */
  cursor: string | null;
}

/** The body of every answer with a status of 400 or above. */
export interface Failed {
  error: Problem;
}

/** What came on one tail since the last frame. Counts are exact, whatever is shown. */
export interface Frame {
  type: "frame";
  id: number;
  /** Events so far that the tail means. */
  n: number;
  /** Events so far on its subject, whatever the query says. */
  heard: number;
  per_s: number;
  /** Rows so far that were sent. */
  shown: number;
  /** Of how many events one is shown; 1: all of them. */
  one_in: number;
  refused: number;
  /** Events lost here, because more came than could be looked at. */
  dropped: number;
  /** Events that fell off the ring while the tail was paused: not shown, and not to be opened any more. */
  fell: number;
  /** The busiest subjects with their events a second. */
  by: Array<[string, number]>;
  /** Oldest first. In mode ``latest`` a row replaces the one of the same subject. */
  rows: Array<[number, number, string, string, number]>;
  /** Events that wait while it is paused. */
  behind: number;
  paused: boolean;
}

/** ``GET /api/groups``: by stream, group and key. */
export interface Groups {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  groups: Array<Office> | null;
}

/** A halt in force. */
export interface Halt {
  halt_id: string;
  /** Null: every fund. */
  fund: string | null;
  reason: string;
  actor: string;
  requested_at: Instant;
  stored_at: Instant;
  /** Whether a broker's adapter was stopped on its own host: it is ended there, and cannot be cleared from here. */
  on_host: boolean;
  obeyed: Array<Obedience>;
  /** Services that should have obeyed and have not said so; none for one on a host. */
  silent: Array<string>;
}

/** ``GET /api/halts``. */
export interface Halts {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  halts: Array<Halt> | null;
  /** The funds that are known, to choose from. */
  funds: Array<string> | null;
}

/** What a process reads or answers, as it says. */
export interface Handling {
  /** The durable; of what is heard as it passes, the subject. */
  name: string;
  subject: string;
  /** Since the process started, failures among them. Readers of one subject share their counts. */
  handled: number;
  errors: number;
  /** That a handler of durable events was at work, on average; null when nobody takes times. */
  seconds_each: number | null;
}

/** The first word. */
export interface Hello {
  op: "hello";
  csrf: string;
}

/** Whether the page is hidden: it is told nothing until it is seen again. */
export interface Hidden {
  op: "hidden";
  hidden: boolean;
}

/** Where the palette may go. */
export interface Hit {
  /** ``order``, ``trace``, ``event``, ``subject``, ``schema``, ``stream``, ``consumer``, ``service``, ``halt``. */
  kind: string;
  title: string;
  detail: string;
  /** A page of the console, ``/order/desk-1.2``. */
  href: string;
}

/** ``GET /api/find?q=…``: the likeliest first. */
export interface Hits {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  hits: Array<Hit> | null;
}

/** Dead letters of one consumer with one kind of error. */
export interface LetterGroup {
  /** Names the group in links. */
  key: string;
  consumer: string;
  reason: string;
  error: string;
  count: number;
  first: Instant;
  last: Instant;
  subjects: Array<string>;
  /** The id of the latest. */
  example: string;
  /** All of them, oldest first. */
  ids: Array<string>;
  /** Letters in each of the 24 equal spans between the first and the last of all groups. */
  trend: Array<number>;
  note: Note | null;
}

/** ``GET /api/deadletters/{id}``. */
export interface LetterOpened {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  letter: LetterRow;
  /** The message that it holds, as its stream had it. */
  event: EventRow;
  payload_text: string;
  truncated: boolean;
  headers: Record<string, string>;
  traceback: string | null;
  /** Whether the models that are installed here take the message now. */
  passes: boolean;
  /** Why not. */
  refused: Refusal | null;
}

/** A dead letter. */
export interface LetterRow {
  number: number;
  id: string;
  reason: string;
  subject: string;
  stream: string;
  sequence: number;
  consumer: string;
  deliveries: number;
  error: string;
  stored_at: Instant;
  failed_at: Instant;
  requeues: number;
  keys: Record<string, string>;
  /** Of its own; the group may have one too. */
  note: Note | null;
}

/** ``GET /api/me``. Also answered to nobody: then ``name`` is null, and the browser shows the sign-in. */
export interface Me {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  name: string | null;
  roles: Array<string>;
  /** Whether people sign in; false on a bus without authentication. */
  secured: boolean;
  /** What has to be said on every page. */
  banner: string | null;
  /** Null when the server does not say: then everything is offered, and the server refuses what may not be. */
  rights: Rights | null;
  /** Whether no action is offered, whatever the role. */
  read_only: boolean;
  token_ends: Instant | null;
  /** To be sent as header ``X-CSRF`` with every POST, and in the first frame of ``/live``. */
  csrf: string | null;
  environment: Environment;
  version: string;
  /** Whether the connection to the bus stands right now. */
  connected: boolean;
  server: string | null;
}

/** A step that should have come and did not. */
export interface Missing {
  /** The event that it should follow, ``OMS_ORDERS:12044``. */
  after: string;
  expects: Array<string>;
  words: string;
  /** Who owes it. */
  by: string;
  waiting_seconds: number;
  usual_seconds: number | null;
  /** Whether it takes longer than it should; otherwise it is only not there yet. */
  late: boolean;
  kind: "gave_up" | "no_reader" | "nobody_reads" | "paused" | "behind" | "under_way" | "nothing_came" | "unknown";
  durable: string | null;
  stream: string;
  lag_seconds: number | null;
  why: string;
  /** What to do: words, and commands to copy. */
  do: Array<string>;
}

/** ``GET /api/nav``: oldest first, thinned to at most 2,000 points a fund. */
export interface Nav {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  points: Array<NavPoint> | null;
}

/** The value of a fund at a moment. */
export interface NavPoint {
  t: Instant;
  fund: string;
  equity: string;
}

/** What somebody knows about a dead letter, or a group of them. */
export interface Note {
  actor: string;
  text: string;
  at: Instant;
}

/** ``GET /api/now``: what needs somebody first. Each part says when it was read, or that it is unknown. */
export interface Now {
  alerts: Alerts;
  halts: Halts;
  orders: Orders;
  services: Services;
  streams: Streams;
  consumers: Consumers;
  /** Without the letters themselves. */
  deadletters: DeadLetters;
}

/** A service that obeyed a halt. */
export interface Obedience {
  service: string;
  canceled_orders: number;
  stored_at: Instant;
  /** Since the halt was stored. */
  after_ms: number;
}

/** A durable that several instances read, one of them at a time. */
export interface Office {
  stream: string;
  /** The reader's name; of shared keys what its durables begin with. */
  group: string;
  durable: string;
  /** Of shared keys, the key. */
  key: string | null;
  /** Who is handed its messages now; null when nobody is. */
  active: string | null;
  /** Who was last. */
  last_active: string | null;
  /** Since when somebody is. */
  since: Instant | null;
  /** The number of this time in office, or of the last one. */
  term: number | null;
  /** From the last sign of life of one instance until another takes over. */
  takeover_seconds: number;
  lag_seconds: number;
  messages: number;
  /** Pulls that wait on the server: of the active instance and of those that stand by. */
  pulls: number;
}

/** Open a row; answered by ``opened``, or by a problem when it has fallen off the ring. */
export interface Open {
  op: "open";
  id: number;
  row: number;
}

/** A row that was opened. */
export interface Opened {
  type: "opened";
  id: number;
  row: number;
  event: EventOpened;
}

/** An order as it stands. Amounts are decimal digits. */
export interface OrderFacts {
  order_id: string;
  status: string;
  is_final: boolean;
  side: string;
  quantity: string;
  filled: string;
  symbol: string;
  fund: string;
  actor: string;
  /** ``market`` or ``limit 64000``, with the time in force. */
  kind: string;
  broker: string;
  /** Why it was rejected or canceled. */
  why: string | null;
}

/** One order in the blotter. */
export interface OrderRow {
  facts: OrderFacts;
  /** When it was created. */
  first: Instant;
  /** When its state changed last. */
  last: Instant;
  /** The event of its last state, ``OMS_ORDERS:12044``. */
  id: string;
  /** Since its last change; null when it is final. */
  waiting_seconds: number | null;
}

/** ``GET /api/orders``: the orders of the newest events of the stream, newest change first. */
export interface Orders {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  orders: Array<OrderRow> | null;
  open: number | null;
  /** Open orders whose state has not changed for ten seconds or more. */
  slow: number | null;
  /** Orders rejected within the last hour. */
  rejected_hour: number | null;
  /** The oldest event that was looked at: what was final before is not shown. */
  since: Instant | null;
}

/** Hold a tail; what comes meanwhile is kept, the newest 2,000. */
export interface Pause {
  op: "pause";
  id: number;
}

/** Why something is not known, was not done, or is refused. */
export interface Problem {
  /** For programs: ``access-denied``, ``unanswered``, ``not-found`` … */
  code: string;
  message: string;
  what_to_do: string;
}

/** One process on the bus, as it says of itself. */
export interface Process {
  service: string;
  id: string;
  /** The name of this instance, where there are several. */
  member: string | null;
  version: string;
  host: string | null;
  pid: string | null;
  command: string | null;
  started: Instant | null;
  certificate_ends: Instant | null;
  handles: Array<Handling>;
  /** When it answered last, of one that does not answer any more; it is named for ten minutes. */
  silent_since: Instant | null;
}

/** ``GET /api/processes``: who answers NATS's service protocol, and whose certificate ends when, the first first. */
export interface Processes {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  processes: Array<Process> | null;
  certificates: Array<Certificate> | null;
  /** Answers that say nothing that can be shown. */
  unreadable: number | null;
}

/** What could not be understood in a query. */
export interface QueryProblem {
  at: number;
  words: string;
}

/** What a durable has done with one event. */
export interface ReaderState {
  durable: string;
  service: string | null;
  state: "handled" | "gave up" | "under way" | "waiting" | "before its time";
  /** The last sequence that it was given. */
  reached: number;
  behind: number;
  unsettled: number;
  redelivered: number;
  /** Pulls that wait on the server: 0 when nobody is there to read. */
  pulls: number;
  last_active: Instant | null;
  paused: boolean;
  lag_seconds: number;
}

/** Why a strict consumer refuses an event. */
export interface Refusal {
  /** ``schema_mismatch``, ``invalid_payload``, ``unexpected_subject`` … */
  reason: string;
  why: string;
  /** The schema that the subject carries; null when nobody registered it. */
  wanted: string | null;
  /** The schema that the event says it has. */
  got: string | null;
}

/** Let a tail go on. */
export interface Resume {
  op: "resume";
  id: number;
}

/** What the server lets this person do. Patterns, as NATS has them. */
export interface Rights {
  /** What is read, ``mts.*.oms.>``. */
  subjects: Array<string>;
  /** Whose history is read. */
  streams: Array<string>;
  /** What is looked up, below ``look.v1.``: ``halts.>``. */
  looks: Array<string>;
  /** What is done, below ``act.v1.``: ``halt.request.>``. */
  acts: Array<string>;
}

/** One run. */
export interface Run {
  run_id: string;
  verb: "requeue" | "discard" | "restore";
  /** The durables whose letters these are. */
  consumers: Array<string>;
  /** For a requeue: ``consumer`` or ``subject``. */
  to: string | null;
  fund: string | null;
  by: string;
  reason: string;
  begun: Instant;
  /** When a responder wrote last how far it is; every second while it runs. */
  changed: Instant;
  /** ``waiting``: the first ones are done, and it waits for a word to go on. */
  state: "running" | "waiting" | "stopped" | "finished";
  of: number;
  /** Letters that are dealt with. */
  at: number;
  done: number;
  /** Letters that were refused. */
  failed: number;
  /** The newest of these. */
  refused: Array<RunRefused>;
  /** What keeps it from going on. */
  trouble: string | null;
  /** Who said last that it goes on, stops or ends. */
  ordered_by: string | null;
  /** Of a requeue: what of it came back; null when this person reads no dead letters. */
  back: CameBack | null;
}

/** A letter that nothing was done about. */
export interface RunRefused {
  id: string;
  why: string;
}

/** ``GET /api/deadletters/runs``: those of the last day, the newest first. */
export interface Runs {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  runs: Array<Run> | null;
}

/** A difference between two versions of a schema. */
export interface SchemaChange {
  path: string;
  compatibility: string;
  words: string;
}

/** ``GET /api/schemas/{id}``. */
export interface SchemaFound {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  schema_id: string;
  description: string;
  document: Record<string, unknown> | null;
  /** Each field in words. */
  fields: Record<string, string>;
  versions: Array<string>;
  subjects: Array<string>;
  /** The version before, with which it is compared. */
  against: string | null;
  changes: Array<SchemaChange>;
}

/** A schema in the list. */
export interface SchemaRow {
  schema_id: string;
  description: string;
  subjects: number;
}

/** ``GET /api/schemas``. */
export interface Schemas {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  schemas: Array<SchemaRow> | null;
}

/** How far a search came. What it found is complete down to ``back_to``. */
export interface Searched {
  how: "search" | "index";
  looked_at: number;
  of: number;
  complete: boolean;
  back_to: Instant | null;
  streams: Array<string>;
  /** Streams that were not looked at, and why. */
  skipped: Record<string, string>;
}

/** A service, as far as streams and consumers tell of it. */
export interface Service {
  /** The repo, ``mts1b-oms``. */
  name: string;
  /** Durables that it reads with. */
  reads: number;
  /** Whether somebody is there to read with each of them; null when it reads with none. */
  reading: boolean | null;
  /** Durables that nobody reads. */
  away: Array<string>;
  lag_seconds: number | null;
  messages: number | null;
  /** The newest stored event of its streams; null when it stores none. */
  last_event: Instant | null;
  per_second: number | null;
}

/** ``GET /api/services``. */
export interface Services {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  services: Array<Service> | null;
}

/** Something that is sent or received: these fields and no other. */
export interface Shape {
}

/** ``POST /login``: a token, or the one-time code of ``mts1b console open``. */
export interface SignIn {
  token?: string | null;
  code?: string | null;
}

/** ``GET /api/order/{id}``, ``/api/trace/{id}``, ``/api/halt/{id}``: oldest event first. */
export interface Story {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  /** ``order_id``, ``trace_id``, ``halt_id``. */
  kind: string;
  value: string;
  order: OrderFacts | null;
  events: Array<StoryEvent> | null;
  missing: Array<Missing> | null;
  /** Streams that may hold more, and why that is not shown. */
  hidden: Record<string, string>;
  searched: Searched | null;
  /** Whether this person may know who has handled what. */
  readers_known: boolean;
}

/** An event in a story. */
export interface StoryEvent {
  event: EventRow;
  /** Since the event before; null for the first. */
  after_ms: number | null;
  /** By what it belongs to the story: ``order_id``, ``trace_id``, ``signal_id``. */
  linked_by: Array<string>;
  readers: Array<ReaderState> | null;
}

/** A stream. */
export interface Stream {
  name: string;
  subjects: Array<string>;
  messages: number;
  bytes: number;
  first_seq: number;
  last_seq: number;
  first_at: Instant | null;
  last_at: Instant | null;
  consumers: number;
  /** Events stored a second, between the last two looks; null for the first look. */
  per_second: number | null;
  /** Most events that one of its consumers has not read; null when it has none. */
  unread: number | null;
  /** Share of the nearest limit that is used, 0 to 1. */
  full: number;
  limits: StreamLimits;
  retention: string;
  storage: string;
  replicas: number;
  declared: boolean;
  drift: Array<Drift>;
  risks: Array<DiscardRisk>;
}

/** What a stream holds at most; null: no limit. */
export interface StreamLimits {
  messages: number | null;
  bytes: number | null;
  age_seconds: number | null;
  messages_per_subject: number | null;
}

/** ``GET /api/streams``. */
export interface Streams {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  streams: Array<Stream> | null;
  /** Declared streams that are not on the server. */
  missing: Array<string> | null;
}

/** A declared durable that reads a subject. */
export interface SubjectReader {
  stream: string;
  durable: string;
  service: string;
}

/** A registered subject. */
export interface SubjectRow {
  pattern: string;
  description: string;
  producer: string;
  /** The schema, ``mts1b_foundation.orders.Order:v1``. */
  payload: string;
  tier: string;
  message_id: string | null;
  /** How it looks on the wire. */
  forms: Array<string>;
  streams: Array<string>;
  replaces: string | null;
  readers: Array<SubjectReader>;
}

/** ``GET /api/subjects?matching=PATTERN``. */
export interface Subjects {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  subjects: Array<SubjectRow> | null;
}

/** Something was not done; ``id`` is the tail that it is about. */
export interface Trouble {
  type: "trouble";
  id: number | null;
  problem: Problem;
}

/** ``POST /api/deadletters/verdict`` with ``{"ids": […]}``: would they pass now? */
export interface Verdict {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  passes: number | null;
  of: number | null;
  /** Why the first that does not pass would not. */
  refused: Refusal | null;
}

/** Open a tail, or change the one with this number. */
export interface Watch {
  op: "watch";
  id: number;
  /** One pattern, or several with a space between. What several of them match comes once. */
  subject?: string;
  mode?: "latest" | "sample" | "all";
  q?: string;
}

/** The answer to ``hello``. */
export interface Welcome {
  type: "welcome";
  at: Instant;
}

/** ``GET /api/words``: what a query may be completed with. */
export interface Words {
  /** When it was read; for what is unknown, when that was tried. */
  read_at: Instant;
  unknown: Problem | null;
  /** Names that a query knows of every event, then the fields of payloads. */
  fields: Array<string>;
  /** Of fields that have few values, these. */
  values: Record<string, Array<string>>;
  subjects: Array<string>;
}

/** What the browser says on `/live`. */
export type FromBrowser = Hello | Watch | Pause | Resume | Close | Open | Hidden;
/** What it hears there. */
export type ToBrowser = Welcome | Frame | Opened | Trouble | Ended;
