// One stored event by its place.
import { go } from "../base/route";
import { StoredEvent } from "../parts/event";

export function EventPage({ place }: { place: string }) {
  return (
    <>
      <div class="title">
        <h1>event {place}</h1>
      </div>
      <StoredEvent place={place} onClose={() => go("/events")} />
    </>
  );
}
