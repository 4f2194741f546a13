// The Edge: from the listening sockets to the Instances. It serves from the table that it has, whether control is there or not, and
// stops without breaking a request off.

import type { EdgeReport } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { createAsk } from '../proxy/ask.ts';
import { createAccessLog, noAccessLog } from '../proxy/access-log.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import { createTrusted } from '../proxy/client-address.ts';
import { createDeadlines } from '../proxy/deadlines.ts';
import { createOpenCounts } from '../proxy/drain.ts';
import { DEFAULT_LIMITS } from '../proxy/limits.ts';
import type { ProxyLimits } from '../proxy/limits.ts';
import { createPool } from '../proxy/pool.ts';
import { createProbe } from '../proxy/probe.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createAskApp } from './ask-app.ts';
import { createFront } from './front.ts';
import type { ListenAddress } from './front.ts';
import { createGroups } from './groups.ts';
import { createHandler } from './handler.ts';
import { createHolds } from './holds.ts';
import { createIdentify } from './identity.ts';
import type { EdgeLink } from './link.ts';
import { createEdgeMetrics } from './metrics.ts';
import { createNodeDial } from './node-dial.ts';
import { createRoutePolicies } from './policy/route-policies.ts';
import { createRecorder } from './recorder.ts';
import { createRouting } from './routing.ts';
import { createCertificates } from './tls/certificates.ts';
import { createOnDemand } from './tls/on-demand.ts';
import { startSync } from './sync.ts';
import type { Sync } from './sync.ts';
import { loadTable, saveTable } from './table-file.ts';
import type { KeptTable } from './table-state.ts';
import { createTaps } from './tap.ts';
import { createVersionCounts } from './version-counts.ts';
import { createVersions } from './versions.ts';

export interface EdgeOptions {
  readonly edgeId: string;
  readonly version: string;
  readonly listen: readonly ListenAddress[];
  readonly link: EdgeLink;
  /** Where the last table is kept. Its folder exists. */
  readonly tableFile: string;
  /** Null: no access log. */
  readonly accessLog: { readonly file: string; readonly fileBytes: number } | null;
  /** Addresses and ranges of proxies in front whose word about the client counts. */
  readonly trusted?: readonly string[];
  /** Those whose connections begin with a PROXY protocol header. */
  readonly proxied?: readonly string[];
  /** Plain listeners take HTTP/2 too, from clients that begin with it. */
  readonly h2c?: boolean;
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

export interface Edge {
  start(): Promise<void>;
  /** Finishes what is under way, at most for `drainMs`. */
  stop(options: { readonly drainMs: number }): Promise<void>;
  addresses(): { readonly host: string; readonly port: number }[];
  /** Prometheus text. */
  metrics(): string;
  /** The table in force; null before the first. */
  table(): KeptTable | null;
  health(): { readonly sequence: number | null; readonly connected: boolean; readonly connections: number; readonly open: number };
}

/** So long a start with a kept table waits for control's word on it, where control is there. */
const FRESH_TABLE_MS = 3_000;
const STARTING_WAIT_MS = 5_000;
const STARTING_QUEUE = 512;
/** Streams are asked to end this long before a stop breaks them off. */
const STREAM_END_MS = 500;

/** A log that cannot be written is no reason not to serve. */
function openAccessLog({ accessLog, clock, log }: EdgeOptions): AccessLog {
  if (accessLog === null) return noAccessLog;
  try {
    return createAccessLog({ ...accessLog, clock });
  } catch (error) {
    log.warn({ error, file: accessLog.file }, 'access log cannot be opened; serving without');
    return noAccessLog;
  }
}

/** Of the first plain and the first https listener. */
function portsOf(
  addresses: readonly { readonly port: number }[],
  listen: readonly ListenAddress[],
): { readonly http: number | null; readonly https: number | null } {
  const of = (tls: boolean): number | null => addresses[listen.findIndex((address) => (address.tls === true) === tls)]?.port ?? null;
  return { http: of(false), https: of(true) };
}

export function createEdge(options: EdgeOptions): Edge {
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
  const trusted = createTrusted(options.trusted ?? []);
  const metrics = createEdgeMetrics();
  const accessLog = openAccessLog(options);
  const taps = createTaps({ clock, post: (batch, signal) => link.tell(batch, signal) });
  let sync: Sync | null = null;
  const open = createOpenCounts((targetId) => {
    if (routing.isDraining(targetId)) sync?.reportSoon();
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
  const certificates = createCertificates();
  const onDemand = createOnDemand({
    clock,
    hasCertificate: (name) => certificates.has(name),
    ask: createAskApp(groups, createAsk(dial, clock)),
    canTell: () => sync?.connected() ?? false,
    tell: () => sync?.reportSoon(),
  });
  const versionCounts = createVersionCounts();
  const holds = createHolds(clock);
  const routing = createRouting({ clock, groups, pool, open, versionCounts, holds, certificates, onDemand });
  const recorder = createRecorder({ metrics, accessLog, clock, watch: (line) => taps.push(line) });
  const handler = createHandler({
    forwarding: { pool, open, deadlines, limits, clock },
    routing,
    groups,
    identify: createIdentify({ trusted }),
    recorder,
    clock,
    versions: createVersions(),
    versionCounts,
    holds,
    policies: createRoutePolicies({ clock, ports: () => portsOf(front.addresses(), options.listen) }),
  });
  const front = createFront({
    listen: options.listen,
    limits,
    deadlines,
    clock,
    trusted,
    proxied: createTrusted(options.proxied ?? []),
    certificates,
    onDemand,
    h2c: options.h2c ?? false,
    onExchange: handler,
    onRefused: (status, why, address) => recorder.refuse(status, why, address),
  });
  const report = (): EdgeReport | null => {
    const sequence = routing.sequence();
    if (sequence === null) return null;
    const versions = versionCounts.report();
    const wanted = onDemand.wanted();
    return {
      edgeId: options.edgeId,
      sequence,
      draining: routing.draining(),
      ejected: groups.ejected(),
      ...(versions === undefined ? {} : { versions }),
      ...(wanted.length === 0 ? {} : { wanted }),
    };
  };

  return {
    start: async () => {
      const kept = await loadTable(options.tableFile, log);
      if (kept !== null) {
        const message = { type: 'snapshot', ...kept } as const;
        await routing.prepare(message);
        routing.apply(message);
        log.info({ sequence: kept.sequence, rules: kept.table.rules.length }, 'serving from the kept route table');
      }
      sync = startSync({
        link,
        clock,
        log,
        apply: async (message) => {
          await routing.prepare(message);
          return routing.apply(message);
        },
        report,
        onTaps: (wanted) => taps.want(wanted),
        save: async () => {
          const kept = options.savesTable === false ? null : routing.kept();
          if (kept !== null) await saveTable(options.tableFile, kept);
        },
      });
      // Instances of the kept table may have gone with the process before: those that come meanwhile wait in the kernel's queue.
      if (kept !== null) await Promise.race([sync.begun, clock.sleep(FRESH_TABLE_MS)]);
      await front.start();
      log.info({ addresses: front.addresses(), version: options.version }, 'edge is listening');
    },
    stop: async ({ drainMs }) => {
      onDemand.stop();
      const cancel = clock.timer(Math.max(0, drainMs - STREAM_END_MS), () => open.closeEverything());
      await front.stop({ drainMs });
      cancel();
      groups.stop();
      holds.stop();
      routing.stop();
      taps.stop();
      await sync?.stop();
      deadlines.stop();
      pool.stop();
      nodes.stop();
      await accessLog.stop();
    },
    addresses: () => front.addresses(),
    metrics: () => {
      const sizes = pool.sizes();
      return metrics.text(
        [
          { name: 'libra_edge_connections', help: 'Open connections of clients.', value: front.connections() },
          { name: 'libra_edge_open_requests', help: 'Requests and streams open on Instances.', value: open.total() },
          { name: 'libra_edge_waiting_requests', help: 'Requests that wait for a starting App.', value: groups.waiting() },
          { name: 'libra_edge_held_requests', help: 'Requests that wait for a paused App.', value: holds.waiting() },
          { name: 'libra_edge_upstream_idle_connections', help: 'Unused connections to Instances.', value: sizes.idle },
          {
            name: 'libra_edge_ejected_targets',
            help: 'Instances that are left out after failures.',
            value: groups.ejected().length,
          },
          { name: 'libra_edge_table_sequence', help: 'Sequence of the route table in force.', value: routing.sequence() ?? 0 },
          { name: 'libra_edge_control_connected', help: '1 while control is connected.', value: sync?.connected() === true ? 1 : 0 },
        ],
        [{ name: 'libra_edge_log_lines_lost_total', help: 'Lines that the access log could not take.', value: accessLog.lost() }],
      );
    },
    table: () => routing.kept(),
    health: () => ({
      sequence: routing.sequence(),
      connected: sync?.connected() ?? false,
      connections: front.connections(),
      open: open.total(),
    }),
  };
}
