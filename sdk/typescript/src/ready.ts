/** The first message of a guest. */

import { integerIn, listIn, optionalText, type Payload } from "./messages.js";

/** The decoded `core.ready`. */
export interface Ready {
  /** The time from the start of the guest's kernel to the agent's first instruction, in nanoseconds. */
  readonly bootTimeNs: number;
  /** The time from there until the root was mounted, in nanoseconds. */
  readonly initTimeNs: number;
  /** The time from the start of the guest's kernel until it was ready, in nanoseconds. */
  readonly readyTimeNs: number;
  /** The version of the agent; `null` if it does not report one. */
  readonly agentVersion: string | null;
  /** The features of the agent besides commands, such as `fs`. */
  readonly features: readonly string[];
}

/** Decodes the payload of `core.ready`. */
export function readyOf(payload: Payload): Ready {
  return {
    bootTimeNs: integerIn(payload, "boot_time_ns"),
    initTimeNs: integerIn(payload, "init_time_ns"),
    readyTimeNs: integerIn(payload, "ready_time_ns"),
    agentVersion: optionalText(payload, "agent_version"),
    features: listIn(payload, "features").filter((feature): feature is string => typeof feature === "string"),
  };
}
