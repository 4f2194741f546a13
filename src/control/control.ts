// The control plane as a whole: builds the modules in the order of their dependence, hands each what it needs of the others, and
// starts and stops them. Nothing is decided here.

import { dirname } from 'node:path';
import { table } from '../api/table.ts';
import type { BlobStore } from '../blob/blob.ts';
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/id.ts';
import type { Store } from '../store/store.ts';
import { createView } from '../store/view.ts';
import type { Log } from '../sys/log.ts';
import { createApps } from './apps/apps.ts';
import { createBlobHandlers } from './apps/blobs.ts';
import { createAuthorise } from './auth/scope.ts';
import { ensureDefaultTeam } from './auth/teams.ts';
import { createAuthenticate, ensureOwnerToken } from './auth/tokens.ts';
import { createBuilds } from './builds/builds.ts';
import { ensureLocalNode } from './cluster/bootstrap.ts';
import { createCertificates } from './certificates/certificates.ts';
import { createDomains } from './certificates/domains.ts';
import { createCluster } from './cluster/cluster.ts';
import { createMachines } from './cluster/machines.ts';
import type { MachineIdentity } from './cluster/machines.ts';
import { allCollections } from './collections.ts';
import { createSealer, loadMasterKey } from './config/sealer.ts';
import { createValues } from './config/values.ts';
import type { ControlContext, ControlSettings } from './context.ts';
import { createDeploys } from './deploys/deploys.ts';
import { createEvents } from './events/events.ts';
import { localNodeId, localToken } from './local-files.ts';
import { metricsText } from './metrics.ts';
import { startReconcilers } from './reconcile.ts';
import type { Reconcilers } from './reconcile.ts';
import { createRouting } from './routing/routing.ts';
import { createIdempotencyStore } from './server-idempotency.ts';
import { createServer } from './server.ts';
import type { ServerAddress, ServerLimits, ServerOptions } from './server.ts';
import { createSystem } from './system.ts';
import { startTlsServer } from './tls-server.ts';

export interface ControlOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  /** For people: `sqlite`. */
  readonly storeEngine: string;
  readonly blobs: BlobStore;
  readonly settings: ControlSettings;
  /** `<data>/master.key`; node.id, node.token and edge.token are kept beside it. */
  readonly masterKeyFile: string;
  /** The kept owner credential; null at the first start. */
  readonly ownerSecret: string | null;
  /** For the Node record of this machine; becomes a DNS label. */
  readonly nodeName: string;
  /** Further addresses for people, by role, as they are when asked. */
  readonly addresses?: () => Readonly<Record<string, string>>;
  /** Further Prometheus text for /metrics, such as the Edge's. Must not reject. */
  readonly furtherMetrics?: () => Promise<string>;
  /** Called when somebody with the right asks for the end of this librad. Must return at once. */
  readonly onShutdown: (options: { readonly keepInstances: boolean }) => void;
  /** Called with what this machine shows to others and knows them by, where there may be others: at first, and whenever it is renewed. */
  readonly onIdentity?: (identity: MachineIdentity) => void;
  readonly limits?: Partial<ServerLimits>;
  /** After the start so long an Edge that has not come back is not taken for none, milliseconds; default 5,000. */
  readonly edgeReconnectGraceMs?: number;
}

export interface StartedControl extends ServerAddress {
  readonly nodeId: string;
  readonly ownerToken: string;
  readonly nodeToken: string;
  readonly edgeToken: string;
  /** Where it is reached over TLS; null: nowhere. */
  readonly tls: ServerAddress | null;
  /** For whoever runs Edges: the process of that one has ended. */
  readonly edgeEnded: (edgeId: string) => void;
}

export interface ListenAddresses {
  readonly host: string;
  readonly port: number;
  /** Over TLS, for machines that join and for people elsewhere; absent: nowhere. */
  readonly tls?: { readonly host: string; readonly port: number };
}

export interface Control {
  /** Port 0 takes a free one. Resolves when the API answers. Throws what the server, the store or the master key refuse with. */
  start(listen: ListenAddresses): Promise<StartedControl>;
  /** Takes no new calls, ends streams, waits for open calls and passes, writes waiting events. Idempotent. */
  stop(): Promise<void>;
}

export function createControl(options: ControlOptions): Control {
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  return {
    start: async (listen) => {
      try {
        return await startControl(options, listen, undo);
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

async function startControl(
  options: ControlOptions,
  listen: ListenAddresses,
  undo: (() => Promise<void> | void)[],
): Promise<StartedControl> {
  const { clock, random, log, store, settings } = options;
  const sealer = createSealer(await loadMasterKey(options.masterKeyFile, random), random);
  const running = createView({ store, collections: allCollections, clock, log });
  undo.push(() => running.stop());
  await running.start();
  const { view } = running;

  const base = { clock, random, log, store, view, blobs: options.blobs, settings };
  const events = createEvents(base);
  const context: ControlContext = { ...base, event: events.record };
  events.start();
  undo.push(() => events.stop());

  const dataFolder = dirname(options.masterKeyFile);
  const team = await ensureDefaultTeam(context);
  const nodeId = await localNodeId(dataFolder, context);
  await ensureLocalNode(context, { nodeId, hostname: options.nodeName, teamId: team.id });
  const tokens = {
    ownerToken: await ensureOwnerToken(context, options.ownerSecret),
    nodeToken: await localToken(dataFolder, context, { kind: 'node', nodeId }),
    edgeToken: await localToken(dataFolder, context, { kind: 'edge', nodeId }),
  };

  const values = createValues(context, { sealer });
  values.check();
  const certificates = await createCertificates(context, { sealer });
  const routing = createRouting(context, {
    certificates: certificates.source,
    ...(options.edgeReconnectGraceMs === undefined ? {} : { reconnectGraceMs: options.edgeReconnectGraceMs }),
  });
  undo.push(() => routing.stop());
  const domains = createDomains(context, { sealer, routing, authorityPem: certificates.authorityPem });
  undo.push(() => domains.stop());
  let tlsAddress: ServerAddress | null = null;
  const machines = await createMachines(context, { sealer, url: () => tlsAddress?.url ?? null });
  const cluster = createCluster(context, { openValue: values.openValue, ownNodeId: nodeId });
  undo.push(() => cluster.stop());
  const apps = createApps(context, routing);
  const deploys = createDeploys(context, {
    trafficState: routing.trafficState,
    leftOut: (instanceId) => routing.trafficState().leftOut(instanceId),
    usageOf: cluster.usageOf,
    everywhere: routing.everywhere,
    routeOwner: routing.routeOwner,
    otherAuthority: routing.otherAuthority,
    urlOf: routing.urlOf,
    environmentRoutes: routing.environmentRoutes,
    resolveValues: values.resolveValues,
    isValueAvailable: values.isAvailable,
    removeValuesOf: values.removeValuesOf,
    instanceLogs: cluster.instanceStreams.logs,
    instanceExec: cluster.instanceStreams.exec,
  });

  const builds = createBuilds(context);

  const auditLog = log.child({ stream: 'audit' });
  let reconcilers: Reconcilers | null = null;
  let address: ServerAddress | null = null;
  const system = createSystem(context, {
    storeEngine: options.storeEngine,
    addresses: () => ({
      ...(address === null ? {} : { api: address.url }),
      ...(tlsAddress === null ? {} : { apiTls: tlsAddress.url }),
      apps: `${settings.publicScheme}://<app>.${settings.domain}:${settings.publicPort}`,
      ...options.addresses?.(),
    }),
    edges: routing.edges,
    reconcilers: () => reconcilers?.statuses() ?? [],
    warnings: () => [
      ...cluster.warnings(),
      ...cluster
        .forwarding()
        .flatMap(({ node, target, failing }) =>
          failing === null ? [] : [`Output on ${node} is not forwarded to ${target} at the moment: ${failing}. It is kept and sent later.`],
        ),
    ],
    missing: () => (cluster.isConnected(nodeId) ? null : 'The agent of this machine is not connected yet.'),
    shutdown: options.onShutdown,
  });
  const serverOptions: ServerOptions<typeof table> = {
    table,
    handlers: {
      ...apps.handlers,
      ...deploys.handlers,
      ...values.handlers,
      ...cluster.handlers,
      ...machines.handlers,
      ...routing.handlers,
      ...events.handlers,
      ...domains.handlers,
      blobs: createBlobHandlers(context),
      system,
    },
    idempotency: createIdempotencyStore({ store, clock, random }),
    authenticate: createAuthenticate(view, machines.authenticate),
    authorise: createAuthorise(view),
    clock,
    random,
    log,
    version: settings.version,
    domain: settings.domain,
    metrics: async () =>
      metricsText({
        view,
        version: settings.version,
        edges: routing.trafficState().edges,
        reconcilers: reconcilers?.statuses() ?? [],
        usageOf: cluster.usageOf,
        forwarding: cluster.forwarding(),
      }) + ((await options.furtherMetrics?.()) ?? ''),
    audit: (entry) => {
      // Machines report every few seconds; what people do is what the audit is about.
      if (entry.principal.kind !== 'node' && entry.principal.kind !== 'edge') {
        auditLog.info({ audit: { ...entry, principal: entry.principal.name } }, entry.endpoint);
      }
    },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  };
  const server = createServer(serverOptions);

  const started = startReconcilers(
    [...deploys.reconcilers, ...builds.reconcilers, ...cluster.reconcilers, ...domains.reconcilers],
    context,
  );
  reconcilers = started;
  undo.push(() => started.stop());
  const unsubscribe = routing.onTrafficChange(() => started.wake('rollout'));
  undo.push(unsubscribe);
  address = await server.start(listen);
  undo.push(() => server.stop());
  if (listen.tls !== undefined) {
    const onIdentity = options.onIdentity ?? ((): void => undefined);
    const tlsServer = await startTlsServer({ server: serverOptions, machines, nodeId, listen: listen.tls, onIdentity });
    undo.push(() => tlsServer.stop());
    tlsAddress = tlsServer.address;
  }
  // Whoever listens everywhere is reached here.
  const isEverywhere = address.host === '0.0.0.0' || address.host === '::';
  if (settings.apiThroughEdge) routing.servePlatform({ nodeId, host: isEverywhere ? '127.0.0.1' : address.host, port: address.port });
  return {
    ...address,
    nodeId,
    ...tokens,
    edgeEnded: routing.edgeEnded,
    tls: tlsAddress,
  };
}
