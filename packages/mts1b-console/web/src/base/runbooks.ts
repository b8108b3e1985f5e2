// What an alert means, where its cause is shown, and what to do first.
import type { Alert } from "../shapes";
import { address } from "./route";

export interface Runbook {
  title: string;
  means: string;
  first: string[];
  commands: (target: string) => string[];
}

const streamOf = (target: string): string => target.split("/")[0] ?? target;

export const runbooks: Record<string, Runbook> = {
  slow_consumer: {
    title: "A consumer is behind",
    means: "The oldest event that it has not settled is older than the threshold. Whatever follows from it comes late.",
    first: [
      "Does anybody read? No pulls waiting means that its service is away or hangs: start it again.",
      "It reads and is slow: see what the oldest event is, and whether it is delivered again and again.",
      "It is paused: somebody did that on purpose; ask before you resume it.",
    ],
    commands: (target) => [`mts1b lag --stream ${streamOf(target)}`, "mts1b-deploy status"],
  },
  dead_letters: {
    title: "Events were given up on",
    means: "Consumers gave up on events within the window; each is kept with its error. What should have followed has not happened.",
    first: [
      "Open the groups: one cause is usually one group.",
      "Mend the cause first; the page says whether a letter would pass now.",
      "Requeue one, see it pass, then the rest.",
    ],
    commands: () => ["mts1b deadletters stats", "mts1b deadletters ls"],
  },
  discard_risk: {
    title: "A stream will discard what a consumer has not read",
    means: "A limit of the stream is nearly reached at the consumer's position. At 1 events are lost to that consumer.",
    first: [
      "Get the consumer to read: that is what frees the room.",
      "If that takes longer than the time left: raise the limit in the stream's declaration and apply it.",
    ],
    commands: (target) => [`mts1b lag --stream ${streamOf(target)}`, "mts1b streams plan"],
  },
  stream_missing: {
    title: "A declared stream is not on the server",
    means: "Events on its subjects are not stored: durable publishes fail, and outboxes fill.",
    first: ["See what applying the declarations would do, then apply them."],
    commands: () => ["mts1b streams plan", "mts1b streams apply"],
  },
  consumer_missing: {
    title: "An expected durable is not on the server",
    means: "Nothing remembers what that reader has read: it would begin anew, and its stream frees nothing for it.",
    first: ["Start its service, which makes the durable; or apply the declared consumers."],
    commands: () => ["mts1b consumers ls", "mts1b consumers apply"],
  },
  certificate_expiry: {
    title: "A certificate is about to expire",
    means: "Afterwards its holder can no longer connect, and stays away until it is renewed.",
    first: ["Renew what is due; services read renewed files when they connect again."],
    commands: () => ["mts1b-deploy pki ls", "mts1b-deploy pki rotate --due"],
  },
  server_health: {
    title: "Storing is slow or fails",
    means: "The monitor's probe took longer than the threshold to be stored, or was not stored at all.",
    first: ["Is the disk full or slow? Is the cluster without a leader? Look at the server's own report."],
    commands: () => ["mts1b check", "mts1b-deploy status", "mts1b-deploy doctor"],
  },
};

/** The page that shows the cause of an alert. */
export function causeOf(alert: Alert): string {
  switch (alert.name) {
    case "slow_consumer":
    case "consumer_missing":
      return alert.target.includes("/") ? `/consumers/${alert.target}` : "/consumers";
    case "dead_letters":
      return "/deadletters";
    case "discard_risk":
    case "stream_missing":
      return `/streams/${streamOf(alert.target)}`;
    default:
      return address("/alerts", { open: alert.alert_id });
  }
}
