// The keys that work right now.
import { signal } from "@preact/signals";
import { known } from "../base/keys";
import { Dialog } from "./dialog";

export const helpDialog = signal(false);

export function Help() {
  return helpDialog.value ? <Open /> : null;
}

function Open() {
  const groups = new Map<string, Map<string, string>>();
  for (const key of known()) {
    const group = groups.get(key.group ?? "This page") ?? new Map<string, string>();
    groups.set(key.group ?? "This page", group);
    if (!group.has(key.keys)) group.set(key.keys, key.words);
  }
  const order = ["This page", "Event", "Lists", "Everywhere", "Go to"];
  const sorted = [...groups].sort(([one], [other]) => order.indexOf(one) - order.indexOf(other));
  return (
    <Dialog label="keys" onClose={() => (helpDialog.value = false)}>
      <div class="inside">
        <header>
          <h1>Keys</h1>
        </header>
        <div class="keys">
          {sorted.map(([name, keys]) => (
            <section key={name}>
              <h2>{name}</h2>
              <dl>
                {[...keys].map(([pressed, words]) => (
                  <>
                    <dt>
                      <kbd>{pressed}</kbd>
                    </dt>
                    <dd>{words}</dd>
                  </>
                ))}
              </dl>
            </section>
          ))}
        </div>
        <footer>
          <button type="button" data-first onClick={() => (helpDialog.value = false)}>
            Close
          </button>
        </footer>
      </div>
    </Dialog>
  );
}
