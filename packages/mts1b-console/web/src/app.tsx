// What stands around every page: environment, time, search, what needs somebody, and the halt.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { useKeys } from "./base/keys";
import { forgetWaiting, pressWaiting, waiting } from "./base/listen";
import { learnMe, mayForAny, me, meError } from "./base/me";
import { placeOf, places } from "./base/places";
import { address, go, here, route } from "./base/route";
import { useSource } from "./base/source";
import { clock, now, span, tick, zone } from "./base/time";
import type { Now } from "./shapes";
import { Age, announce, Copy, copyText } from "./parts/bits";
import { HaltDialog, haltDialog } from "./parts/halt";
import { Help, helpDialog } from "./parts/help";
import { Palette, palette, turnZone } from "./parts/palette";
import { Page } from "./pages/page";
import { SignIn } from "./pages/signin";

/** Milliseconds between two questions who is signed in. A page that is hidden asks that alone, to stay signed in. */
const SEEN = 15_000;
const HIDDEN = 300_000;

export function App() {
  useEffect(() => {
    let asked = 0;
    const ask = (): void => {
      const every = document.hidden ? HIDDEN : SEEN;
      if (Date.now() - asked < every) return;
      asked = Date.now();
      void learnMe();
    };
    ask();
    const timer = setInterval(ask, 1000);
    addEventListener("visibilitychange", ask);
    return () => {
      clearInterval(timer);
      removeEventListener("visibilitychange", ask);
    };
  }, []);
  const found = me.value;
  const nobody = found?.name === null;
  useLayoutEffect(() => void (nobody && forgetWaiting()), [nobody]);
  return (
    <>
      <div id="say" class="unseen" role="status" aria-live="polite" />
      <div id="say-now" class="unseen" role="alert" aria-live="assertive" />
      {found === null ? <First /> : found.name === null ? <SignIn /> : <Shell />}
    </>
  );
}

function First() {
  const error = meError.value;
  return (
    <main class="page">
      {error ? (
        <p class="trouble" role="alert">
          <strong>{error.message}</strong> Look whether <code>mts1b console serve</code> is running; this page tries again by itself. From a terminal:{" "}
          <code>mts1b halt request --all --reason …</code>
        </p>
      ) : (
        <p class="dim">Asking the console…</p>
      )}
      <WaitingKeys />
    </main>
  );
}

/** The keys that wait for the answer. */
function WaitingKeys() {
  tick.value;
  const chords = waiting();
  if (chords.length === 0) return null;
  return (
    <p role="status">
      {chords.map((each, at) => (
        <kbd key={at}>{each}</kbd>
      ))}{" "}
      {chords.length > 1 ? "wait" : "waits"} until the console answers, half a minute at most; <kbd>Esc</kbd> drops {chords.length > 1 ? "them" : "it"}.
    </p>
  );
}

function Shell() {
  const state = useSource<Now>("/api/now", 2000);
  const menu = useSignal(false);
  const { path } = route.value;
  const page = useRef<HTMLElement>(null);
  useEffect(() => {
    menu.value = false;
  }, [path]);
  const place = placeOf(path);
  useEffect(() => {
    const environment = me.peek()?.environment.name;
    document.title = `${place?.name ?? path.slice(1)} · ${environment ?? "MTS1B"} console`;
  }, [path]);
  useKeys([
    { keys: "Shift H", words: "halt trading", group: "Everywhere", run: openHalt },
    { keys: "Alt Shift H", words: "halt trading, also while typing", group: "Everywhere", always: true, run: openHalt },
    { keys: "Ctrl K", words: "find anything, do anything", group: "Everywhere", always: true, run: () => (palette.value = !palette.peek()) },
    { keys: "/", words: "search on this page", group: "Everywhere", run: focusSearch },
    { keys: "y", words: "copy the link to exactly this", group: "Everywhere", run: () => void copyText(location.href) },
    { keys: "?", words: "these keys", group: "Everywhere", run: () => (helpDialog.value = true) },
    { keys: "Escape", words: "close what is open beside", group: "Everywhere", run: () => go(here({ open: null, tab: null }), { replace: false }) },
    ...places.map((each) => ({ keys: `g ${each.key}`, words: each.name, group: "Go to", run: () => go(each.path) })),
  ], "all");
  useLayoutEffect(() => void pressWaiting(), []);
  return (
    <div class="shell">
      <a class="unseen" href="#page" onClick={(event) => (event.preventDefault(), page.current?.focus())}>
        to the page
      </a>
      <Head state={state} onMenu={() => (menu.value = !menu.value)} open={menu.value} />
      <Notices state={state} />
      <Rail state={state.data.value} path={path} open={menu.value} />
      <main id="page" ref={page} class={place && WHOLE.has(place.path) ? "page whole" : "page"} tabIndex={-1}>
        <Page path={path} />
      </main>
      <HaltDialog />
      <Palette />
      <Help />
    </div>
  );
}

function openHalt(): void {
  if (mayForAny("halt.request")) haltDialog.value = true;
}

/** Pages whose list fills the height and scrolls by itself. */
const WHOLE = new Set(["/tail", "/events", "/orders"]);

function focusSearch(): void {
  const field = document.querySelector<HTMLInputElement>("#page input[type=search]");
  if (field) {
    field.focus();
    field.select();
  } else palette.value = true;
}

type StateSource = ReturnType<typeof useSource<Now>>;

function Head({ state, onMenu, open }: { state: StateSource; onMenu: () => void; open: boolean }) {
  const found = me.value!;
  const alerts = state.data.value?.alerts.alerts?.length ?? null;
  const critical = state.data.value?.alerts.alerts?.some((alert) => alert.severity === "critical") ?? false;
  const halts = state.data.value?.halts.halts?.length ?? 0;
  const badge = useRef<HTMLSpanElement>(null);
  const known = useRef<number | null>(null);
  useEffect(() => {
    if (alerts !== null && known.current !== null && alerts > known.current) announce(`${alerts} alerts are in force`, true);
    known.current = alerts;
  }, [alerts]);
  const colour = found.environment.color;
  useEffect(() => {
    if (badge.current && !NAMED.has(colour)) {
      badge.current.style.borderColor = colour;
      badge.current.style.boxShadow = `inset 4px 0 0 ${colour}`;
    }
  }, [colour]);
  return (
    <header class="head">
      <button type="button" class="more" aria-expanded={open} onClick={onMenu}>
        Menu
      </button>
      <a class="brand" href="/">
        MTS1B
      </a>
      <span ref={badge} class="environment" data-colour={colour}>
        {found.environment.name}
      </span>
      <button type="button" class="finder" onClick={() => (palette.value = true)} title="Ctrl K">
        <span class="cut long">order, trace, subject…</span>
        <span class="short">Find</span>
        <kbd>Ctrl K</kbd>
      </button>
      <span class="space" />
      <Clock />
      <Connection state={state} />
      <a class="bell" href="/alerts" aria-label={alerts === null ? "alerts: not known" : `${alerts} alerts in force`}>
        <span class={alerts ? `${critical ? "critical" : "warning"} strong` : ""}>
          <span class="long">{alerts === null ? "alerts ?" : `${alerts} alert${alerts === 1 ? "" : "s"}`}</span>
          <span class="short">▲ {alerts ?? "?"}</span>
        </span>
      </a>
      <button type="button" class="danger halt" onClick={() => (haltDialog.value = true)} title="Shift H" hidden={!mayForAny("halt.request")}>
        HALT{halts ? ` ·${halts}` : ""}
      </button>
      <a class="person" href="/me" title={found.roles.join(", ")}>
        {found.name}
      </a>
    </header>
  );
}

const NAMED = new Set(["red", "amber", "green", "blue"]);

function Clock() {
  tick.value;
  return (
    <button type="button" class="plain clock" onClick={turnZone} title={`Times are ${zone.value === "utc" ? "UTC" : "local"}; click for the other`}>
      {clock(now(), { date: "never" })}
    </button>
  );
}

function Connection({ state }: { state: StateSource }) {
  tick.value;
  const at = state.at.value;
  const error = state.error.value;
  const seconds = Number.isNaN(at) ? 0 : (now() - at) / 1000;
  const away = error !== null || me.value?.connected === false;
  return (
    <span class={`connection ${away ? "critical strong" : "dim"}`} title={me.value?.server ?? ""}>
      {away ? `✖ ${error ? "console" : "bus"} away ${span(seconds)}` : "● live"}
    </span>
  );
}

function Notices({ state }: { state: StateSource }) {
  const found = me.value!;
  const error = state.error.value;
  const ends = found.token_ends ? (Date.parse(found.token_ends) - now()) / 1000 : Infinity;
  tick.value;
  return (
    <div class="notices">
      {error && (
        <Banner kind="critical">
          <strong>{error.message}</strong> <span>{error.whatToDo}</span> <Age of={state} />
        </Banner>
      )}
      {!error && !found.connected && (
        <Banner kind="critical">
          <strong>The console has lost the bus{found.server ? ` (${found.server})` : ""}.</strong>
          <span>Figures stay as they were last known. From a terminal:</span> <code>mts1b-deploy status</code>
          <Copy text="mts1b-deploy status" />
        </Banner>
      )}
      {found.banner && <Banner kind="warning">{found.banner}</Banner>}
      {found.read_only && <Banner kind="">Read-only: this console offers no action.</Banner>}
      {ends < 600 && (
        <Banner kind="warning">
          <span>
            Your token ends in {span(Math.max(0, ends))}: <code>mts1b login</code>, then <code>mts1b console open</code>.
          </span>
        </Banner>
      )}
    </div>
  );
}

function Banner({ kind, children }: { kind: string; children: ComponentChildren }) {
  return (
    <div class="banner" data-kind={kind} role={kind === "critical" ? "alert" : undefined}>
      {children}
    </div>
  );
}

function Rail({ state, path, open }: { state: Now | null; path: string; open: boolean }) {
  const mine = placeOf(path)?.path ?? (path.startsWith("/order/") ? "/orders" : path.startsWith("/halt/") ? "/halts" : path.startsWith("/event/") ? "/events" : "");
  const counts: Record<string, number | undefined> = {
    "/alerts": state?.alerts.alerts?.length,
    "/halts": state?.halts.halts?.length,
    "/deadletters": state?.deadletters.groups?.reduce((sum, group) => sum + group.count, 0),
  };
  const groups = [...new Set(places.map((place) => place.group))];
  return (
    <nav class={open ? "rail open" : "rail"} aria-label="pages">
      {groups.map((group) => (
        <section key={group}>
          {group && <h2 id={`rail-${group}`}>{group}</h2>}
          <ul>
            {places
              .filter((place) => place.group === group)
              .map((place) => (
                <li key={place.path}>
                  <a href={address(place.path)} aria-current={mine === place.path ? "page" : undefined}>
                    <span>{place.name}</span>
                    {counts[place.path] ? (
                      <span class={place.path === "/deadletters" ? "pill" : "pill critical"}>{counts[place.path]}</span>
                    ) : (
                      <span class="key" aria-hidden="true">
                        g {place.key}
                      </span>
                    )}
                  </a>
                </li>
              ))}
          </ul>
        </section>
      ))}
    </nav>
  );
}
