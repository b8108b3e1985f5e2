// The pages: their names, addresses and keys.

export interface Place {
  name: string;
  path: string;
  /** Second key after `g`. */
  key: string;
  group: string;
}

export const places: readonly Place[] = [
  { name: "Now", path: "/", key: "n", group: "" },
  { name: "Orders", path: "/orders", key: "o", group: "Trading" },
  { name: "NAV", path: "/nav", key: "v", group: "Trading" },
  { name: "Halts", path: "/halts", key: "h", group: "Trading" },
  { name: "Explore", path: "/events", key: "e", group: "Events" },
  { name: "Tail", path: "/tail", key: "t", group: "Events" },
  { name: "Dead letters", path: "/deadletters", key: "d", group: "Events" },
  { name: "Alerts", path: "/alerts", key: "a", group: "Bus" },
  { name: "Consumers", path: "/consumers", key: "c", group: "Bus" },
  { name: "Streams", path: "/streams", key: "s", group: "Bus" },
  { name: "Services", path: "/services", key: "i", group: "Bus" },
  { name: "Subjects", path: "/subjects", key: "u", group: "Contract" },
  { name: "Schemas", path: "/schemas", key: "m", group: "Contract" },
  { name: "Permissions", path: "/permissions", key: "p", group: "Contract" },
  { name: "Audit", path: "/audit", key: "l", group: "Record" },
  { name: "Me", path: "/me", key: "w", group: "Record" },
];

/** The place that an address belongs to. */
export const placeOf = (path: string): Place | undefined =>
  places.find((place) => place.path === path || (place.path !== "/" && path.startsWith(`${place.path}/`)));
