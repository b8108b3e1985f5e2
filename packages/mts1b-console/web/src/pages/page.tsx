// From an address to its page.
import type { ComponentChildren } from "preact";
import { Nothing } from "../parts/bits";
import { AlertsPage } from "./alerts";
import { AuditPage } from "./audit";
import { ConsumersPage } from "./consumers";
import { EventPage } from "./event";
import { ExplorePage } from "./explore";
import { HaltsPage } from "./halts";
import { LettersPage } from "./letters";
import { MePage } from "./me";
import { NavPage } from "./nav";
import { NowPage } from "./now";
import { OrdersPage } from "./orders";
import { PermissionsPage } from "./permissions";
import { SchemasPage } from "./schemas";
import { ServicesPage } from "./services";
import { StoryPage } from "./story";
import { StreamsPage } from "./streams";
import { SubjectsPage } from "./subjects";
import { TailPage } from "./tail";

export function Page({ path }: { path: string }): ComponentChildren {
  const [, first = "", ...rest] = path.split("/").map(plain);
  const value = rest.join("/");
  switch (first) {
    case "":
      return <NowPage />;
    case "halts":
      return <HaltsPage />;
    case "order":
    case "trace":
    case "halt":
      return <StoryPage key={path} kind={first} value={value} />;
    case "orders":
      return <OrdersPage />;
    case "nav":
      return <NavPage />;
    case "deadletters":
      return <LettersPage />;
    case "events":
      return <ExplorePage />;
    case "event":
      return <EventPage key={path} place={rest.join(":")} />;
    case "tail":
      return <TailPage />;
    case "consumers":
      return <ConsumersPage chosen={value} />;
    case "streams":
      return <StreamsPage chosen={value} />;
    case "services":
      return <ServicesPage />;
    case "alerts":
      return <AlertsPage />;
    case "subjects":
      return <SubjectsPage chosen={value} />;
    case "schemas":
      return <SchemasPage key={value} chosen={value} />;
    case "permissions":
      return <PermissionsPage />;
    case "audit":
      return <AuditPage />;
    case "me":
      return <MePage />;
    default:
      return (
        <>
          <h1>There is no such page</h1>
          <Nothing title="Nothing is lost.">
            <a href="/">Now</a> shows what needs somebody; <kbd>Ctrl K</kbd> finds anything.
          </Nothing>
        </>
      );
  }
}

function plain(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
