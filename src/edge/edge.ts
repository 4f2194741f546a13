// The Edge: from the listening sockets to the Instances. It serves from the table that it has, whether control is there or not, and
// stops without breaking a request off.

import type { Clock } from '../lib/clock.ts';
import { createAsk } from '../proxy/ask.ts';
import { createAccessLog, noAccessLog } from '../proxy/access-log.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import { createTrusted } from '../proxy/client-address.ts';
import type { Core } from '../dataplane/core.ts';
import { createFront } from '../dataplane/front.ts';
import type { ListenAddress } from '../dataplane/front.ts';
import { createGateway } from '../dataplane/gateway.ts';
import { createIdentify } from '../dataplane/identity.ts';
import { createRequestMetrics } from '../dataplane/request-metrics.ts';
import type { KeptTable } from '../dataplane/table-state.ts';
import { createTaps } from '../dataplane/tap.ts';
import { createCertificates } from '../dataplane/tls/certificates.ts';
import { createOnDemand } from '../dataplane/tls/on-demand.ts';
import { createVersions } from '../dataplane/versions.ts';
import type { Log } from '../sys/log.ts';
import { createAskApp } from './ask-app.ts';
import { createHandler } from './handler.ts';
import { createHolds } from './holds.ts';
import { createRoutePolicies } from './policy/route-policies.ts';
import { createRecorder } from './recorder.ts';
import { createRouting } from './routing.ts';

export interface EdgeOptions {
  readonly version: string;
  readonly listen: readonly ListenAddress[];
  /** Null: no access log. */
  readonly accessLog: { readonly file: string; readonly fileBytes: number } | null;
  /** Addresses and ranges of proxies in front whose word about the client counts. */
  readonly trusted?: readonly string[];
  /** Those whose connections begin with a PROXY protocol header. */
  readonly proxied?: readonly string[];
  /** Plain listeners take HTTP/2 too, from clients that begin with it. */
  readonly h2c?: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Edge {
  /** After its core: listens. */
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

/** On a core that is started after it was made and stopped after it. */
export function createEdge(options: EdgeOptions, core: Core): Edge {
  const { clock, log } = options;
  const { groups, forwarding, open, pool, dial, versionCounts, limits } = core;
  const trusted = createTrusted(options.trusted ?? []);
  const metrics = createRequestMetrics('libra_edge', ['app', 'environment', 'entrypoint', 'route', 'version']);
  const accessLog = openAccessLog(options);
  const taps = createTaps({ clock, post: (batch, signal) => core.tell(batch, signal) });
  const certificates = createCertificates();
  const onDemand = createOnDemand({
    clock,
    hasCertificate: (name) => certificates.has(name),
    ask: createAskApp(groups, createAsk(dial, clock)),
    canTell: () => core.connected(),
    tell: () => core.reportSoon(),
  });
  const holds = createHolds(clock);
  const routing = createRouting({ holds, certificates, onDemand });
  const recorder = createRecorder({ metrics, accessLog, clock, watch: (line) => taps.push(line) });
  const gateway = createGateway({ clock, log, calls: core.sessionCalls, onChange: () => core.reportSoon() });
  const handler = createHandler({
    gateway,
    forwarding,
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
    deadlines: forwarding.deadlines,
    clock,
    trusted,
    proxied: createTrusted(options.proxied ?? []),
    secure: { certificates, onDemand },
    h2c: options.h2c ?? false,
    onExchange: handler,
    onRefused: (status, why, address) => recorder.refuse(status, why, address),
  });
  core.use({
    change: (change) => {
      routing.change(change);
      gateway.change(change);
    },
    report: () => {
      const wanted = onDemand.wanted();
      const sessions = gateway.report();
      return { ...(wanted.length === 0 ? {} : { wanted }), ...(sessions.length === 0 ? {} : { sessions }) };
    },
    watch: (wanted) => taps.want(wanted),
  });

  return {
    start: async () => {
      await front.start();
      log.info({ addresses: front.addresses(), version: options.version }, 'edge is listening');
    },
    stop: async ({ drainMs }) => {
      onDemand.stop();
      gateway.leave();
      const cancel = clock.timer(Math.max(0, drainMs - STREAM_END_MS), () => open.closeEverything());
      await front.stop({ drainMs });
      cancel();
      gateway.stop();
      holds.stop();
      taps.stop();
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
          { name: 'libra_edge_table_sequence', help: 'Sequence of the route table in force.', value: core.sequence() ?? 0 },
          { name: 'libra_edge_control_connected', help: '1 while control is connected.', value: core.connected() ? 1 : 0 },
        ],
        [{ name: 'libra_edge_log_lines_lost_total', help: 'Lines that the access log could not take.', value: accessLog.lost() }],
      );
    },
    table: () => core.kept(),
    health: () => ({
      sequence: core.sequence(),
      connected: core.connected(),
      connections: front.connections(),
      open: open.total(),
    }),
  };
}
