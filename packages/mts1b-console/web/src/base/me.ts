// Who is signed in, and what may be offered. The server decides; here it only decides what is shown.
import { computed, signal } from "@preact/signals";
import { get, post, session, useToken } from "./api";
import type { Me } from "../shapes";

export const me = signal<Me | null>(null);
export const meError = signal<Error | null>(null);
/** Why the code of the address was not taken. */
export const codeError = signal<Error | null>(null);

/** The one-time code with which `mts1b console open` opened this page. */
async function useCode(): Promise<void> {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    await post("/login", { code });
  } catch (error) {
    codeError.value = error as Error;
  }
}

/** Ask who is signed in, after signing in with a code that the address may bring. */
export async function learnMe(): Promise<void> {
  try {
    await useCode();
    const found = await get<Me>("/api/me");
    if (found.csrf) useToken(found.csrf);
    me.value = found;
    meError.value = null;
  } catch (error) {
    meError.value = error as Error;
  }
}

session.ended = () => {
  if (me.peek()?.name) me.value = { ...me.peek()!, name: null };
};

export const signedIn = computed(() => me.value?.name != null);

/** Whether an action is offered: `halt.request`, `deadletters.requeue`; for one fund, or for all. */
export function may(action: string, fund: string | null = null): boolean {
  const found = me.value;
  if (!found?.name || found.read_only) return false;
  if (found.rights === null) return true;
  const scopes = fund === null ? ["all"] : [`fund.${fund}`];
  return scopes.some((scope) => found.rights!.acts.some((pattern) => matches(pattern, `${action}.${scope}`)));
}

/** Whether an action is offered for at least one fund. */
export function mayForAny(action: string): boolean {
  const found = me.value;
  if (!found?.name || found.read_only) return false;
  const wanted = action.split(".");
  return (
    found.rights === null ||
    found.rights.acts.some((pattern) => {
      const tokens = pattern.split(".");
      return wanted.every((token, at) => tokens[at] === token || tokens[at] === "*" || tokens.slice(0, at + 1).includes(">"));
    })
  );
}

/** Whether a subject matches a pattern of NATS. */
export function matches(pattern: string, subject: string): boolean {
  const [want, have] = [pattern.split("."), subject.split(".")];
  for (const [at, token] of want.entries()) {
    if (token === ">") return have.length > at;
    if (at >= have.length || (token !== "*" && token !== have[at])) return false;
  }
  return want.length === have.length;
}
