// The URL is the state: what a page shows can be read from its address, and the address gives the page again.
import { signal } from "@preact/signals";

export interface Route {
  path: string;
  params: URLSearchParams;
}

const read = (): Route => ({ path: location.pathname, params: new URLSearchParams(location.search) });

export const route = signal<Route>(read());

addEventListener("popstate", () => {
  route.value = read();
});

/** Go to an address of this console. */
export function go(url: string, { replace = false } = {}): void {
  if (url === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  const before = route.peek().path;
  route.value = read();
  if (!replace && route.peek().path !== before) {
    document.getElementById("page")?.scrollTo(0, 0);
    document.getElementById("page")?.focus({ preventScroll: true });
  }
}

/** A parameter of the address; subscribes whoever renders by it. */
export function param(name: string, fallback = ""): string {
  return route.value.params.get(name) ?? fallback;
}

export type Params = Record<string, string | number | null | undefined>;

/** The address of here with some parameters changed; null and the empty text take one away. */
export function here(changes: Params): string {
  const { path, params } = route.peek();
  return address(path, { ...Object.fromEntries(params), ...changes });
}

export function address(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString().replaceAll("%3A", ":").replaceAll("%3E", ">").replaceAll("%2F", "/");
  return text ? `${path}?${text}` : path;
}

/** Change parameters of the address. A choice replaces; an opened thing is a step that Back undoes. */
export function set(changes: Params, { step = false } = {}): void {
  go(here(changes), { replace: !step });
}

/** Ordinary clicks on links of this console stay in the page. */
export function followLinks(): void {
  addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element | null)?.closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || link.pathname.startsWith("/api/")) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
