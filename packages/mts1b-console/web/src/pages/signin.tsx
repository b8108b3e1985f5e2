// Signing in: a token is shown to the console once, and never kept in the page.
import { useSignal } from "@preact/signals";
import { post } from "../base/api";
import { forgetWaiting, keepWaiting } from "../base/listen";
import { codeError, learnMe, me, meError, signedIn } from "../base/me";
import { Command, Trouble } from "../parts/bits";

export function SignIn() {
  const token = useSignal("");
  const busy = useSignal(false);
  const trouble = useSignal<Error | null>(null);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const given = token.value.trim();
    if (!given || busy.value) return;
    busy.value = true;
    trouble.value = null;
    keepWaiting();
    try {
      await post("/login", { token: given });
      token.value = "";
      await learnMe();
    } catch (error) {
      trouble.value = error as Error;
    } finally {
      if (!signedIn.peek()) forgetWaiting();
      busy.value = false;
    }
  };
  return (
    <main class="signin">
      <form onSubmit={(event) => void submit(event)}>
        <h1>
          MTS1B console <span class="environment">{me.value?.environment.name}</span>
        </h1>
        <p>Sign in from a terminal, which opens this page with your rights:</p>
        <Command text="mts1b login && mts1b console open" />
        <label class="field">
          <span>or paste a token</span>
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            value={token.value}
            onInput={(event) => (token.value = event.currentTarget.value)}
          />
        </label>
        <Trouble problem={trouble.value ?? codeError.value ?? meError.value} />
        <button type="submit" class="main" disabled={!token.value.trim() || busy.value}>
          {busy.value ? "Signing in…" : "Sign in"}
        </button>
        <p class="dim">The console sees what the bus lets you see, and keeps nothing of your token in the page.</p>
      </form>
    </main>
  );
}
