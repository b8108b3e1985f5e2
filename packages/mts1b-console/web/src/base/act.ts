// Having something done. A request has an id from the moment its dialog opens: sent twice, it is done once.
import { get, post, Refusal } from "./api";
import type { ActDone, ActPreview, ActRequest, Halts } from "../shapes";

export type Action = "halt/request" | "halt/clear" | "deadletters/requeue" | "deadletters/discard" | "deadletters/restore" | "deadletters/note" | "alerts/acknowledge";

export const newRequest = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const preview = (action: Action, body: ActRequest): Promise<ActPreview> => post(`/api/act/${action}`, { ...body, preview: true });

/** Whether an answer is missing, so that the same request may be asked again; not whether it was refused. */
export const unanswered = (error: unknown): boolean =>
  error instanceof Refusal && (error.status === 0 || error.status >= 500 || error.code === "at-work" || error.code === "unanswered");

const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Do it; when no answer comes the same request is asked again, which does nothing twice. */
export async function act(action: Action, body: ActRequest, { tries = 4, onRetry = (_: Error): void => undefined } = {}): Promise<ActDone> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await post<ActDone>(`/api/act/${action}`, body, 15_000);
    } catch (error) {
      if (!unanswered(error) || attempt >= tries) throw error;
      onRetry(error as Error);
      await wait(1000 * attempt);
    }
  }
}

/** Look until the halts are as they should be, at most so many seconds: what is stored is what counts. */
export async function seenInForce(check: (halts: Halts) => boolean, seconds: number): Promise<Halts | null> {
  const end = Date.now() + seconds * 1000;
  do {
    const halts = await get<Halts>("/api/halts", 3000).catch(() => null);
    if (halts?.halts && check(halts)) return halts;
    await wait(250);
  } while (Date.now() < end);
  return null;
}

/** Say something to a run that was begun: asked again, it changes nothing. */
export const order = (action: Action, body: ActRequest): Promise<ActDone> => post<ActDone>(`/api/act/${action}`, body, 15_000);
