// Who is signed in, what that allows, and how this browser shows things.
import { post } from "../base/api";
import { learnMe, me } from "../base/me";
import { type Theme, theme } from "../base/theme";
import { type Zone, zone } from "../base/time";
import { Ago, Choices, When } from "../parts/bits";
import { helpDialog } from "../parts/help";
import { dropView, views } from "../parts/views";
import { Mine } from "./permissions";

export function MePage() {
  const found = me.value;
  if (!found) return null;
  return (
    <>
      <div class="title">
        <h1>{found.name}</h1>
        {found.secured && (
          <button type="button" class="right" onClick={() => void post("/logout", {}).finally(() => void learnMe())}>
            Sign out
          </button>
        )}
      </div>
      <section class="panel body">
        <dl class="facts">
          <dt>roles</dt>
          <dd>{found.roles.join(", ") || "none"}</dd>
          <dt>signed in until</dt>
          <dd>
            {found.token_ends ? (
              <>
                <When t={found.token_ends} date="always" />, <Ago t={found.token_ends} />
              </>
            ) : found.secured ? (
              "the token does not say"
            ) : (
              "this bus has no sign-in"
            )}
          </dd>
          <dt>bus</dt>
          <dd class="mono">{found.server ?? "not connected"}</dd>
          <dt>console</dt>
          <dd>
            {found.version}
            {found.read_only && ", read-only"}
          </dd>
          <dt>theme</dt>
          <dd>
            <Choices<Theme>
              label="theme"
              value={theme.value}
              choices={[
                { value: "system", label: "as the system" },
                { value: "dark", label: "dark" },
                { value: "light", label: "light" },
              ]}
              onChoose={(value) => (theme.value = value)}
            />
          </dd>
          <dt>times</dt>
          <dd>
            <Choices<Zone>
              label="times"
              value={zone.value}
              choices={[
                { value: "utc", label: "UTC" },
                { value: "local", label: "local" },
              ]}
              onChoose={(value) => {
                zone.value = value;
                localStorage.setItem("zone", value);
              }}
            />
          </dd>
          <dt>keys</dt>
          <dd>
            <button type="button" onClick={() => (helpDialog.value = true)}>
              Show the keys
            </button>
          </dd>
        </dl>
      </section>
      <Mine rights={found.rights} />
      <section class="panel" aria-labelledby="views">
        <header>
          <h2 id="views">Saved views, in this browser</h2>
        </header>
        <div class="body">
          {views.value.length === 0 && <p class="dim">None yet. Explore, Tail and Orders can save what they show.</p>}
          <ul class="plainlist">
            {views.value.map((view) => (
              <li key={view.name}>
                <a href={view.url}>{view.name}</a> <span class="dim mono">{view.url}</span>{" "}
                <button type="button" class="plain" onClick={() => dropView(view.name)}>
                  forget
                </button>
              </li>
            ))}
          </ul>
        </div>
      </section>
    </>
  );
}
