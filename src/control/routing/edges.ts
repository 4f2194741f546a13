// The connected data planes, Edges and the API Proxies of Nodes that have no Edge: each follows the table by sequence, and what it says back tells rollouts whether a new Instance gets traffic
// everywhere and whether an old one has finished. An Edge counts until it has been gone for long enough to be sure of it.

import { isDeepStrictEqual } from 'node:util';
import type { EdgeReport, RouteTable, SessionReport, TableMessage, Tap, TapBatch } from '../../api/dataplane.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import type { ControlContext } from '../context.ts';
import type { SessionAttachment } from '../../model/documents.ts';
import type { Comparison } from '../../model/version-counts.ts';
import { deploymentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { nodeSpecRecords } from '../cluster/records.ts';
import type { NounHandlers, Principal, StreamItem } from '../handler.ts';
import { createWakeup } from '../wakeup.ts';
import type { Wakeup } from '../wakeup.ts';
import type { Delta, LiveTable } from './table.ts';
import { createTaps } from './taps.ts';
import { createVersionHistory, isVersionReport } from './version-history.ts';

const PING_MS = 3000;
const SILENCE_MS = 10_000;
const EDGES = 5_000;
const REPORTED = 20_000;
const NO_TAPS: readonly Tap[] = [];

interface Edge {
  readonly id: string;
  /** Of its machine; null: it has not followed so far. */
  nodeId: string | null;
  /** It carries requests of clients; false: only calls of the Apps on its Node, for which it needs no Routes and no keys. */
  hasRoutes: boolean;
  /** Open streams; the newest counts, an older one is dead or about to be. */
  stream: { readonly wakeup: Wakeup; readonly closed: AbortController } | null;
  /** Sequence in force there; 0 while nothing is known. */
  acknowledged: number;
  draining: ReadonlyMap<string, number>;
  /** Instances that it leaves out for a while. */
  ejected: ReadonlySet<string>;
  /** Laptops that are connected to it; null: it has not said so far. */
  sessions: readonly SessionReport[] | null;
  /** Monotonic time of its last report, or of the end of its stream. */
  lastContactMs: number;
  lastSeenWallMs: number;
}

export interface TrafficState {
  /** Connected Edges. */
  readonly edges: number;
  /** Every connected Edge's table in force has the Instance as active. True for one that does not listen: no traffic waits for it. */
  inForce(instanceId: string): boolean;
  /** Every connected Edge has a table in force in which the Instance is draining or absent, and no open request to it. */
  drained(instanceId: string): boolean;
  /** Some Edge sends the Instance no requests for a while, since it failed some. */
  leftOut(instanceId: string): boolean;
  /** What the Edges have counted of two versions side by side. */
  compare(stableId: string, candidateId: string): readonly Comparison[];
}

export interface Edges {
  readonly handlers: {
    readonly dataplane: NounHandlers<typeof table.dataplane>;
    readonly requests: NounHandlers<typeof table.requests>;
  };
  readonly trafficState: () => TrafficState;
  /** Resolves with true when every connected Edge has the table of this moment in force, with false after so long. */
  readonly everywhere: (timeoutMs: number) => Promise<boolean>;
  /** Called when a report, a connection or a disconnection may have changed an answer of trafficState. */
  readonly onTrafficChange: (listener: () => void) => () => void;
  /** Called with hosts that have no certificate and that an App has let in, as Edges report them: again and again until they have one. */
  readonly onWanted: (listener: (hosts: readonly string[]) => void) => () => void;
  /** Where each laptop is connected, as Edges say it now; where they do not know, what was known before. */
  readonly attachments: () => (sessionId: string, before: SessionAttachment | null) => SessionAttachment | null;
  /** Called when an answer of it may have changed. */
  readonly onAttachments: (listener: () => void) => () => void;
  /** The process of that Edge has ended: nothing of it is left to wait for. */
  readonly forget: (id: string) => void;
  readonly list: () => readonly {
    readonly id: string;
    readonly tableSequence: number;
    readonly current: boolean;
    readonly lastSeenMs: number;
  }[];
  stop(): void;
}

export interface EdgesDeps {
  readonly table: LiveTable;
  /** After the start, so long an Edge that has not come back yet is not taken for none. */
  readonly reconnectGraceMs: number;
  /** Others may have been connected to the control plane that led before: the ones that are here are not taken for all so long. */
  readonly others?: boolean;
}

export function createEdges(context: ControlContext, deps: EdgesDeps): Edges {
  const { clock, view, log } = context;
  const { table: live } = deps;
  const startedMs = clock.monotonic();
  const edges = new Map<string, Edge>();
  const listeners = new Set<() => void>();
  const wantedListeners = new Set<(hosts: readonly string[]) => void>();
  const attachmentListeners = new Set<() => void>();
  const timers = new Set<() => void>();
  const versions = createVersionHistory(clock);

  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  const later = (ms: number, run: () => void): void => {
    const cancel = clock.timer(ms, () => {
      timers.delete(cancel);
      run();
    });
    timers.add(cancel);
  };
  const forgetGone = (): void => {
    for (const [id, edge] of edges) if (!isConnected(edge)) edges.delete(id);
  };
  const isConnected = (edge: Edge): boolean => edge.stream !== null || clock.monotonic() - edge.lastContactMs < SILENCE_MS;

  const wakeAll = (): void => {
    for (const edge of edges.values()) edge.stream?.wakeup.wake();
  };
  const taps = createTaps(clock, wakeAll);
  // What it follows holds the keys of hosts: a machine that was removed gets no more of it.
  const unsubscribeNodes = view.onChange((changed) => {
    const gone = [...(changed.get(nodeSpecRecords.name) ?? [])].filter((id) => view.get(nodeSpecRecords, id) === undefined);
    if (gone.length === 0) return;
    for (const edge of edges.values()) if (edge.nodeId !== null && gone.includes(edge.nodeId)) edge.stream?.closed.abort();
  });
  const unsubscribe = live.onDelta(wakeAll);
  later(deps.reconnectGraceMs, notify);

  const edgeOf = (id: string): Edge => {
    const existing = edges.get(id);
    if (existing !== undefined) return existing;
    forgetGone();
    if (edges.size >= EDGES) throw new Failure('rate_limited', { message: `${EDGES} Edges are connected already.` });
    const edge: Edge = {
      id,
      nodeId: null,
      hasRoutes: true,
      stream: null,
      acknowledged: 0,
      draining: new Map(),
      ejected: new Set(),
      sessions: null,
      lastContactMs: clock.monotonic(),
      lastSeenWallMs: clock.now(),
    };
    edges.set(id, edge);
    return edge;
  };

  async function* messages(edgeId: string, { nodeId, hasRoutes }: Follower, signal: AbortSignal): AsyncGenerator<StreamItem<TableMessage>> {
    const edge = edgeOf(edgeId);
    const stream = { wakeup: createWakeup(clock), closed: new AbortController() };
    edge.stream?.closed.abort();
    edge.stream = stream;
    edge.nodeId = nodeId;
    edge.hasRoutes = hasRoutes;
    const told = (table: RouteTable): RouteTable => (hasRoutes ? table : servicesOf(table));
    // What a former process of this Edge had in force says nothing about this one.
    edge.acknowledged = 0;
    edge.draining = new Map();
    edge.ejected = new Set();
    edge.sessions = null;
    const ended = AbortSignal.any([signal, stream.closed.signal]);
    log.info({ edge: edgeId }, 'edge connected');
    notify();
    try {
      live.flush();
      let sent = live.sequence();
      // A new connection begins without.
      let tapped: readonly Tap[] = NO_TAPS;
      yield { id: null, data: { type: 'snapshot', sequence: sent, table: told(live.snapshot()) } };
      while (!ended.aborted) {
        const wanted = taps.wanted();
        if (hasRoutes && wanted !== tapped && (wanted.length > 0 || tapped.length > 0))
          yield { id: null, data: { type: 'taps', taps: wanted } };
        tapped = wanted;
        const next = live.after(sent);
        if (next === undefined) {
          sent = live.sequence();
          yield { id: null, data: { type: 'snapshot', sequence: sent, table: told(live.snapshot()) } };
        } else if (next !== null) {
          sent = next.sequence;
          yield { id: null, data: hasRoutes ? next : servicesIn(next) };
        } else if (!(await stream.wakeup.wait(PING_MS, ended)) && !ended.aborted) yield { id: null, data: { type: 'ping' } };
      }
    } finally {
      if (edge.stream === stream) {
        edge.stream = null;
        edge.lastContactMs = clock.monotonic();
        log.info({ edge: edgeId }, 'edge disconnected');
        later(SILENCE_MS + 1, () => {
          forgetGone();
          notify();
        });
      }
    }
  }

  const take = (report: EdgeReport): void => {
    const edge = edgeOf(report.edgeId);
    edge.lastContactMs = clock.monotonic();
    edge.lastSeenWallMs = clock.now();
    versions.take(report.edgeId, report.versions ?? []);
    // A sequence of an earlier control is no acknowledgement of this one's tables.
    const known = report.sequence >= live.firstSequence() && report.sequence <= live.sequence() ? report.sequence : 0;
    const draining = new Map(Object.entries(report.draining));
    const changed = known !== edge.acknowledged || !sameCounts(draining, edge.draining);
    edge.acknowledged = known;
    edge.draining = draining;
    edge.ejected = new Set(report.ejected);
    const { sessions = [] } = report;
    const moved = edge.sessions === null || !isDeepStrictEqual(edge.sessions, sessions);
    edge.sessions = sessions;
    if (moved) for (const listener of attachmentListeners) listener();
    if (changed) notify();
    const { wanted = [] } = report;
    if (wanted.length > 0) for (const listener of wantedListeners) listener(wanted);
  };

  const forget = (id: string): void => {
    const edge = edges.get(id);
    if (edge === undefined) return;
    edges.delete(id);
    edge.stream?.closed.abort();
    log.info({ edge: id }, 'edge has ended');
    notify();
  };

  const listens = (instanceId: string): boolean => {
    const spec = view.get(instanceSpecRecords, instanceId)?.document;
    const deployment =
      spec === undefined || spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
    return spec === undefined || deployment?.entrypoints[spec.entrypoint]?.listens !== false;
  };

  return {
    handlers: {
      dataplane: {
        sync: (call) => {
          return messages(call.query.edge, followerOf(call.principal), call.signal);
        },
        report: async (call) => {
          followerOf(call.principal);
          take(parseReport(call.body));
          return { accepted: true };
        },
        requests: async (call) => {
          if (call.principal.kind !== 'edge') throw new Failure('forbidden', { message: 'Only an Edge tells of requests.' });
          return { wanted: taps.take(parseBatch(call.body)) };
        },
      },
      requests: {
        watch: (call) => {
          const { tail, follow, ...filter } = call.query;
          const connected = [...edges.values()].filter((edge) => edge.stream !== null && edge.hasRoutes);
          return taps.watch(
            { filter, tail, follow },
            connected.map(({ id }) => id),
            call.signal,
          );
        },
      },
    },
    trafficState: () => {
      const connected = [...edges.values()].filter(isConnected);
      const unsure = (connected.length === 0 || deps.others === true) && clock.monotonic() - startedMs < deps.reconnectGraceMs;
      return {
        edges: connected.filter((edge) => edge.hasRoutes).length,
        compare: (stableId, candidateId) => versions.compare(stableId, candidateId),
        leftOut: (instanceId) => connected.some((edge) => edge.ejected.has(instanceId)),
        inForce: (instanceId) => {
          if (!listens(instanceId)) return true;
          if (unsure) return false;
          if (connected.length === 0) return true;
          live.flush();
          const { state, since } = live.targetState(instanceId);
          return state === 'active' && connected.every((edge) => edge.acknowledged >= since);
        },
        drained: (instanceId) => {
          if (!listens(instanceId)) return true;
          if (unsure) return false;
          live.flush();
          const { state, since } = live.targetState(instanceId);
          if (connected.length === 0) return true;
          return state !== 'active' && connected.every((edge) => edge.acknowledged >= since && (edge.draining.get(instanceId) ?? 0) === 0);
        },
      };
    },
    everywhere: (timeoutMs) => {
      live.flush();
      const sequence = live.sequence();
      const isEverywhere = (): boolean => [...edges.values()].filter(isConnected).every((edge) => edge.acknowledged >= sequence);
      if (isEverywhere()) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (reached: boolean): void => {
          cancel();
          listeners.delete(check);
          resolve(reached);
        };
        const check = (): void => {
          if (isEverywhere()) end(true);
        };
        const cancel = clock.timer(timeoutMs, () => end(false));
        listeners.add(check);
      });
    },
    onTrafficChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onWanted: (listener) => {
      wantedListeners.add(listener);
      return () => wantedListeners.delete(listener);
    },
    attachments: () => {
      const connected = [...edges.values()].filter(isConnected);
      const newest = new Map<string, SessionAttachment>();
      for (const { id: edgeId, nodeId, sessions } of connected) {
        if (nodeId === null) continue;
        for (const { id, host, port, sinceMs } of sessions ?? []) {
          const other = newest.get(id);
          if (other === undefined || other.sinceMs < sinceMs) newest.set(id, { edgeId, nodeId, host, port, sinceMs });
        }
      }
      const mayComeBack = clock.monotonic() - startedMs < deps.reconnectGraceMs;
      const isSilent = (edgeId: string): boolean => {
        const edge = edges.get(edgeId);
        return edge === undefined || !isConnected(edge) ? mayComeBack : edge.sessions === null;
      };
      return (sessionId, before) => newest.get(sessionId) ?? (before !== null && isSilent(before.edgeId) ? before : null);
    },
    onAttachments: (listener) => {
      attachmentListeners.add(listener);
      return () => attachmentListeners.delete(listener);
    },
    forget,
    list: () =>
      [...edges.values()]
        .filter((edge) => isConnected(edge) && edge.hasRoutes)
        .map((edge) => ({
          id: edge.id,
          tableSequence: edge.acknowledged,
          current: edge.acknowledged === live.sequence(),
          lastSeenMs: edge.lastSeenWallMs,
        })),
    stop: () => {
      unsubscribe();
      unsubscribeNodes();
      for (const cancel of timers) cancel();
      for (const edge of edges.values()) edge.stream?.closed.abort();
    },
  };
}

interface Follower {
  /** Of its machine. */
  readonly nodeId: string;
  readonly hasRoutes: boolean;
}

function followerOf(principal: Principal): Follower {
  if (principal.kind === 'edge' || principal.kind === 'node') return { nodeId: principal.nodeId, hasRoutes: principal.kind === 'edge' };
  throw new Failure('forbidden', { message: 'Only machines of the platform may follow the route table.' });
}

/** What an API Proxy needs: keys of hosts and what authorities ask are none of its business. */
function servicesOf({ groups, parties }: RouteTable): RouteTable {
  return { rules: [], groups, ...(parties === undefined ? {} : { parties }) };
}

function servicesIn({ type, sequence, putGroups, removeGroups, putParties, removeParties }: Delta): Delta {
  return {
    type,
    sequence,
    putGroups,
    removeGroups,
    ...(putParties === undefined ? {} : { putParties }),
    ...(removeParties === undefined ? {} : { removeParties }),
  };
}

function sameCounts(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  return a.size === b.size && [...a].every(([id, count]) => b.get(id) === count);
}

function parseBatch(batch: TapBatch): TapBatch {
  const valid =
    typeof batch.edgeId === 'string' &&
    typeof batch.tap === 'string' &&
    Array.isArray(batch.lines) &&
    batch.lines.every((line) => typeof line === 'string') &&
    Number.isSafeInteger(batch.dropped) &&
    typeof batch.caughtUp === 'boolean';
  if (!valid) throw new Failure('invalid_input', { message: 'The requests of the Edge are not valid.' });
  return batch;
}

function parseReport(report: EdgeReport): EdgeReport {
  const valid =
    typeof report.edgeId === 'string' &&
    report.edgeId.length > 0 &&
    report.edgeId.length <= 64 &&
    Number.isSafeInteger(report.sequence) &&
    typeof report.draining === 'object' &&
    report.draining !== null &&
    Object.values(report.draining).every((count) => Number.isSafeInteger(count) && count >= 0) &&
    Array.isArray(report.ejected) &&
    (report.sessions === undefined || (Array.isArray(report.sessions) && report.sessions.every(isSessionReport))) &&
    report.ejected.every((id) => typeof id === 'string') &&
    (report.wanted === undefined || (Array.isArray(report.wanted) && report.wanted.every((host) => typeof host === 'string'))) &&
    (report.versions === undefined || (Array.isArray(report.versions) && report.versions.every(isVersionReport)));
  if (!valid) throw new Failure('invalid_input', { message: 'The report of the Edge is not valid.' });
  if (
    (report.sessions ?? []).length > REPORTED ||
    Object.keys(report.draining).length > REPORTED ||
    report.ejected.length > REPORTED ||
    (report.wanted ?? []).length > REPORTED
  ) {
    throw new Failure('too_large', {
      message: `An Edge may report ${REPORTED} draining targets, as many that it leaves out, and as many hosts and sessions.`,
    });
  }
  return report;
}

function isSessionReport({ id, host, port, sinceMs }: SessionReport): boolean {
  return typeof id === 'string' && typeof host === 'string' && Number.isInteger(port) && Number.isSafeInteger(sinceMs);
}
