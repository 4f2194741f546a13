// What every control module is given. Modules never construct each other; control.ts does, and hands on what they export.

import type { BlobStore } from '../blob/blob.ts';
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/id.ts';
import type { Event } from '../model/documents.ts';
import type { Store } from '../store/store.ts';
import type { View } from '../store/view.ts';
import type { Log } from '../sys/log.ts';

export interface AcmeSettings {
  /** URL of the directory. */
  readonly directory: string;
  readonly email: string | null;
  /** DNS servers, `address` or `address:port`; none: those of the machine. */
  readonly resolvers: readonly string[];
  /** A command that sets and removes TXT records, for dns-01; null: hosts are proven by http-01 and tls-alpn-01. */
  readonly dnsHook: { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> } | null;
}

export interface ControlSettings {
  readonly version: string;
  /** Base domain of Apps. */
  readonly domain: string;
  /** Scheme, and port as it stands in URLs for people: `http`, 8080. */
  readonly publicScheme: 'http' | 'https';
  readonly publicPort: number;
  /** Of the Edges' https; null: there is none. */
  readonly publicHttpsPort: number | null;
  /** The API is reached at the platform's host through the Edges too. */
  readonly apiThroughEdge: boolean;
  /** The authority that hosts on the internet get their certificates from; null: the platform's own. */
  readonly acme: AcmeSettings | null;
  /** Largest bundle, bytes. */
  readonly bundleBytes: number;
  /** Silence after which a Node is down, milliseconds. */
  readonly nodeGraceMs: number;
  /** How long ended Instances, with their logs, and unused blobs are kept, milliseconds. */
  readonly retainEndedMs: number;
  /** Releases kept per App besides those in use. */
  readonly retainReleases: number;
  /** What one Environment may keep in librad.kv. */
  readonly kv: { readonly keys: number; readonly bytes: number; readonly valueBytes: number };
}

export interface EventInput {
  readonly level: Event['level'];
  readonly kind: string;
  readonly message: string;
  readonly subject: Event['subject'];
  readonly runbook?: string;
}

export interface ControlContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  readonly view: View;
  readonly blobs: BlobStore;
  readonly settings: ControlSettings;
  /** Records an event; never throws, never waits. */
  readonly event: (event: EventInput) => void;
}

/** One level-triggered reconciler: idempotent, without input (invariant 1). */
export interface Reconciler {
  readonly name: string;
  /** Runs at least this often, milliseconds. */
  readonly everyMs: number;
  /** Collections whose changes wake it. */
  readonly wakeOn: readonly string[];
  /** May return in how many milliseconds it wants to run again at the latest. */
  run(signal: AbortSignal): Promise<number | void>;
}
