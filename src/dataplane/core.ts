// What every proxy of a data-plane process stands on: the table in force as control sends it and as it is kept on disk, the groups of
// targets with what is known of them, and the connections to them. It is the only place where a table comes into force. It serves whether
// control is there or not.

import type { EdgeReport, RouteTarget, TableMessage, Tap, TapBatch } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { loadPatterns, patternsLoaded } from '../model/patterns.ts';
import { patternsOf } from '../model/route-match.ts';
import { createTrusted } from '../proxy/client-address.ts';
import { createDeadlines } from '../proxy/deadlines.ts';
import type { Dial } from '../proxy/dial.ts';
import { createOpenCounts } from '../proxy/drain.ts';
import type { OpenCounts } from '../proxy/drain.ts';
import type { ForwardDeps } from '../proxy/forward.ts';
import { DEFAULT_LIMITS } from '../proxy/limits.ts';
import type { ProxyLimits } from '../proxy/limits.ts';
import { createPool } from '../proxy/pool.ts';
import type { Pool } from '../proxy/pool.ts';
import { createProbe } from '../proxy/probe.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createGroups } from './groups.ts';
import type { Groups } from './groups.ts';
import type { EdgeLink } from './link.ts';
import { createNodeDial } from './node-dial.ts';
import { createSessionCalls } from './session-calls.ts';
import type { SessionCalls } from './session-calls.ts';
import { startSync } from './sync.ts';
import type { Sync } from './sync.ts';
import { loadTable, saveTable } from './table-file.ts';
import { createTableState } from './table-state.ts';
import type { KeptTable, TableChange } from './table-state.ts';
import { createVersionCounts } from './version-counts.ts';
import type { VersionCounts } from './version-counts.ts';

export interface CoreOptions {
  readonly edgeId: string;
  readonly link: EdgeLink;
  /** Where the last table is kept. Its folder exists. */
  readonly tableFile: string;
  /** False: another worker keeps the table on disk. */
  readonly savesTable?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the machine that it runs on; absent: there is only one. */
  readonly nodeId?: string;
  /** Of this machine towards the others; absent: it has none. */
  readonly identity?: () => MachineIdentity | null;
  /** Ranges in which Instances on other machines are dialled as they are. */
  readonly near?: readonly string[];
  readonly limits?: Partial<ProxyLimits>;
  /** How long a request waits for a starting group, and how many may. */
  readonly startingWaitMs?: number;
  readonly startingQueue?: number;
}

/** What a proxy on top adds. */
export interface Proxy {
  /** Takes in a change of the table, after groups and targets have. */
  readonly change?: (change: TableChange) => void;
  /** For the next report to control. */
  readonly report?: () => Partial<EdgeReport>;
  /** Who watches requests now. */
  readonly watch?: (taps: readonly Tap[]) => void;
}

export interface Core {
  readonly groups: Groups;
  readonly forwarding: ForwardDeps;
  readonly open: OpenCounts;
  readonly pool: Pool;
  readonly dial: Dial;
  readonly versionCounts: VersionCounts;
  readonly sessionCalls: SessionCalls;
  readonly limits: ProxyLimits;
  /** Before the start. */
  use(proxy: Proxy): void;
  /** Resolves when there is a table as good as can be had at once. */
  start(): Promise<void>;
  /** Of the table in force; null before the first. */
  sequence(): number | null;
  /** The table in force as it is kept on disk; null before the first. */
  kept(): KeptTable | null;
  connected(): boolean;
  reportSoon(): void;
  /** Requests that somebody watches; false: nobody does any more. */
  tell(batch: Omit<TapBatch, 'edgeId'>, signal: AbortSignal): Promise<boolean>;
  /** When nothing is under way any more. */
  stop(): Promise<void>;
}

/** So long a start with a kept table waits for control's word on it, where control is there. */
const FRESH_TABLE_MS = 3_000;
const STARTING_WAIT_MS = 5_000;
const STARTING_QUEUE = 512;

export function createCore(options: CoreOptions): Core {
  const { clock, log, link } = options;
  const limits: ProxyLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const nodes = createNodeDial({
    nodeId: options.nodeId ?? null,
    identity: options.identity ?? (() => null),
    near: createTrusted(options.near ?? []),
    clock,
  });
  const { dial } = nodes;
  const pool = createPool({ dial, limits, clock });
  const deadlines = createDeadlines(clock);
  const state = createTableState();
  const versionCounts = createVersionCounts();
  const proxies: Proxy[] = [];
  let sync: Sync | null = null;
  let draining: ReadonlyMap<string, RouteTarget> = new Map();
  let cancelDeadline: (() => void) | null = null;
  const open = createOpenCounts((targetId) => {
    if (draining.has(targetId)) sync?.reportSoon();
  });
  const groups = createGroups({
    clock,
    probe: createProbe(dial, clock),
    openPerTarget: limits.openPerTarget,
    openPerGroup: limits.openPerGroup,
    onEjected: ({ app, environment, entrypoint }, instance, reason) => {
      const why = { app, environment, entrypoint, instance };
      if (reason === null) log.info(why, 'Instance gets requests again');
      else log.info({ ...why, reason }, 'Instance is left out for a while');
      sync?.reportSoon();
    },
    waitMs: options.startingWaitMs ?? STARTING_WAIT_MS,
    waitingPerGroup: options.startingQueue ?? STARTING_QUEUE,
  });

  /** Closes what is still open on targets whose time is over, and comes back for the next one. */
  const enforce = (): void => {
    cancelDeadline?.();
    cancelDeadline = null;
    const now = clock.now();
    let nextMs = Infinity;
    for (const target of draining.values()) {
      if (target.drainUntilMs === null) continue;
      if (target.drainUntilMs <= now) open.closeAll(target.instanceId);
      else nextMs = Math.min(nextMs, target.drainUntilMs - now);
    }
    if (nextMs !== Infinity) cancelDeadline = clock.timer(nextMs, enforce);
  };

  const install = (change: TableChange): void => {
    pool.forget(groups.change(change.putGroups, change.removeGroups));
    versionCounts.change(change.putGroups, change.removeGroups);
    draining = new Map(groups.draining().map((target) => [target.instanceId, target]));
    enforce();
    for (const proxy of proxies) proxy.change?.(change);
  };

  /** Applies a message of control, or a table from disk as a snapshot; false: it leaves a gap. */
  const apply = async (message: TableMessage): Promise<boolean> => {
    // What its rules need is loaded first: from then on it is one step.
    if (!patternsLoaded() && needsPatterns(message)) await loadPatterns();
    const change = state.apply(message);
    if (change === 'gap') return false;
    if (change !== null) install(change);
    return true;
  };

  const report = (): EdgeReport | null => {
    const sequence = state.sequence();
    if (sequence === null) return null;
    const versions = versionCounts.report();
    return {
      edgeId: options.edgeId,
      sequence,
      draining: Object.fromEntries(Array.from(draining.keys(), (id) => [id, open.count(id)])),
      ejected: groups.ejected(),
      ...(versions === undefined ? {} : { versions }),
      ...Object.assign({}, ...proxies.map((proxy) => proxy.report?.())),
    };
  };

  return {
    groups,
    open,
    pool,
    dial,
    versionCounts,
    sessionCalls: createSessionCalls({ identity: options.identity ?? (() => null), clock }),
    limits,
    forwarding: { pool, open, deadlines, limits, clock },
    use: (proxy) => void proxies.push(proxy),
    start: async () => {
      const kept = await loadTable(options.tableFile, log);
      if (kept !== null) {
        await apply({ type: 'snapshot', ...kept });
        log.info({ sequence: kept.sequence, rules: kept.table.rules.length }, 'serving from the kept route table');
      }
      sync = startSync({
        link,
        clock,
        log,
        apply,
        report,
        onTaps: (wanted) => {
          for (const proxy of proxies) proxy.watch?.(wanted);
        },
        save: async () => {
          const now = options.savesTable === false ? null : state.kept();
          if (now !== null) await saveTable(options.tableFile, now);
        },
      });
      // Instances of the kept table may have gone with the process before: those that come meanwhile wait in the kernel's queue.
      if (kept !== null) await Promise.race([sync.begun, clock.sleep(FRESH_TABLE_MS)]);
    },
    sequence: () => state.sequence(),
    kept: () => state.kept(),
    connected: () => sync?.connected() ?? false,
    reportSoon: () => sync?.reportSoon(),
    tell: (batch, signal) => link.tell(batch, signal),
    stop: async () => {
      groups.stop();
      cancelDeadline?.();
      await sync?.stop();
      deadlines.stop();
      pool.stop();
      nodes.stop();
    },
  };
}

function needsPatterns(message: TableMessage): boolean {
  const rules = message.type === 'snapshot' ? message.table.rules : message.type === 'delta' ? (message.putRules ?? []) : [];
  return rules.some((rule) => patternsOf(rule).length > 0);
}
