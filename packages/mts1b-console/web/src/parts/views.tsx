// Saved views are named addresses, kept in this browser.
import { signal, useSignal } from "@preact/signals";
import { go, route } from "../base/route";
import { Dialog } from "./dialog";

interface View {
  name: string;
  url: string;
}

function stored(): View[] {
  try {
    return JSON.parse(localStorage.getItem("views") ?? "[]") as View[];
  } catch {
    return [];
  }
}

export const views = signal<View[]>(stored());
views.subscribe((value) => localStorage.setItem("views", JSON.stringify(value)));

export const dropView = (name: string): void => {
  views.value = views.value.filter((view) => view.name !== name);
};

export function Views({ page }: { page: string }) {
  const naming = useSignal<string | null>(null);
  const mine = views.value.filter((view) => view.url.startsWith(page));
  const save = (event: Event): void => {
    event.preventDefault();
    const name = naming.value?.trim();
    if (!name) return;
    views.value = [...views.value.filter((view) => view.name !== name), { name, url: location.pathname + location.search }].slice(-50);
    naming.value = null;
  };
  void route.value;
  return (
    <>
      {mine.length > 0 && (
        <label>
          <span class="unseen">saved views</span>
          <select
            onChange={(event) => {
              if (event.currentTarget.value) go(event.currentTarget.value);
              event.currentTarget.value = "";
            }}
          >
            <option value="">saved views</option>
            {mine.map((view) => (
              <option key={view.name} value={view.url}>
                {view.name}
              </option>
            ))}
          </select>
        </label>
      )}
      <button type="button" onClick={() => (naming.value = "")}>
        Save this view…
      </button>
      {naming.value !== null && (
        <Dialog label="save this view" onClose={() => (naming.value = null)}>
          <form onSubmit={save}>
            <h1>Save this view</h1>
            <label class="field">
              <span>its name, in this browser</span>
              <input type="text" data-first maxLength={60} value={naming.value} onInput={(event) => (naming.value = event.currentTarget.value)} />
            </label>
            <footer>
              <button type="button" onClick={() => (naming.value = null)}>
                Cancel
              </button>
              <button type="submit" class="main" disabled={!naming.value.trim()}>
                Save
              </button>
            </footer>
          </form>
        </Dialog>
      )}
    </>
  );
}
